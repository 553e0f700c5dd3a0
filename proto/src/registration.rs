//! The message that an exec-server signs to register, and the derivation of its id from its key.

use aws_lc_rs::digest;

use crate::{ExecServerId, PROTOCOL_VERSION};

/// Separates these signatures from any other use of an Ed25519 key.
const DOMAIN: &[u8] = b"baton.relay.v1.Register";

/// The exec-server id of an Ed25519 public key: the first 16 bytes of its SHA-256.
pub fn exec_server_id(public_key: &[u8]) -> ExecServerId {
    let hash = digest::digest(&digest::SHA256, public_key);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.as_ref()[..16]);
    ExecServerId(id)
}

/// SHA-256 of a dial token: what an exec-server registers, so that the relay never stores the token.
pub fn dial_token_hash(token: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, token);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    out
}

/// The message under the signature in `Proof`: every part length-prefixed (`u16`, big endian), so that no two inputs
/// share one encoding. The authority is the relay's as the exec-server dialled it, so a relay that forwards another
/// relay's challenge gets a signature that names itself, which the other relay refuses.
pub fn signed_message(nonce: &[u8], authority: &str, dial_token_hash: &[u8]) -> Vec<u8> {
    let version = PROTOCOL_VERSION.to_be_bytes();
    let parts: [&[u8]; 5] = [DOMAIN, nonce, authority.as_bytes(), &version, dial_token_hash];
    let mut message = Vec::with_capacity(160);
    for part in parts {
        // Every part is bounded far below 64 KiB by its producer; a longer authority cannot verify.
        let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
        message.extend_from_slice(&len.to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_message_is_stable() {
        let message = signed_message(&[1; 2], "r:1", &[2; 1]);
        assert_eq!(
            message,
            b"\x00\x17baton.relay.v1.Register\x00\x02\x01\x01\x00\x03r:1\x00\x04\x00\x00\x00\x02\x00\x01\x02"
        );
    }

    #[test]
    fn the_id_is_the_truncated_hash_of_the_key() {
        assert_eq!(
            exec_server_id(b"").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb924"
        );
    }
}
