//! The Noise prologue: the values that a handshake is bound to, so that a relay cannot splice it into another session.

use baton_proto::{ExecServerId, PROTOCOL_VERSION, SessionId};

use crate::suite::SUITE;

/// Names of the two roles, in handshake order.
const ROLES: &[u8] = b"initiator=client,responder=exec-server";

/// The prologue of one session: protocol, version, suite, roles, exec-server id and session id, each prefixed with
/// its length (`u16`, big endian).
pub fn prologue(exec_server: ExecServerId, session: SessionId) -> Vec<u8> {
    let version = PROTOCOL_VERSION.to_be_bytes();
    let parts: [&[u8]; 6] = [
        b"baton.channel.v1",
        &version,
        SUITE.as_bytes(),
        ROLES,
        &exec_server.0,
        &session.0,
    ];
    let mut out = Vec::with_capacity(176);
    for part in parts {
        put_part(&mut out, part);
    }
    out
}

/// The prologue of a rekey: that of the session, and the hash of the previous handshake. So no message of another
/// session, or of another rekey of this session, verifies.
pub(crate) fn rekey_prologue(session: &[u8], previous: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(session.len() + 2 + previous.len());
    out.extend_from_slice(session);
    put_part(&mut out, previous);
    out
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    // Every part is a constant, an id or a hash, so the length fits.
    out.extend_from_slice(&(part.len() as u16).to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prologue_is_stable() {
        let bytes = prologue(ExecServerId([1; 16]), SessionId([2; 16]));
        let mut expected = Vec::new();
        expected.extend_from_slice(b"\x00\x10baton.channel.v1\x00\x04\x00\x00\x00\x02");
        expected.extend_from_slice(b"\x00\x28Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256");
        expected.extend_from_slice(b"\x00\x26initiator=client,responder=exec-server");
        expected.extend_from_slice(b"\x00\x10");
        expected.extend_from_slice(&[1; 16]);
        expected.extend_from_slice(b"\x00\x10");
        expected.extend_from_slice(&[2; 16]);
        assert_eq!(bytes, expected);

        expected.extend_from_slice(b"\x00\x20");
        expected.extend_from_slice(&[3; 32]);
        assert_eq!(rekey_prologue(&bytes, &[3; 32]), expected);
    }
}
