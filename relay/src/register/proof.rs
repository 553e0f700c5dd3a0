//! Verifies that an exec-server holds its key, and that it dialled this relay.
//!
//! The signature covers the relay's nonce and the authority as dialled. A relay that forwards another relay's challenge
//! gets a signature over its own authority. A relay accepts only its own authorities, so it rejects that signature.

use std::net::SocketAddr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use baton_proto::PROTOCOL_VERSION;
use baton_proto::registration::{exec_server_id, signed_message};
use tonic::Code;

use crate::RefusalReason;
use crate::registry::ProvenIdentity;
use crate::sanitized_text::SanitizedText;

/// Why a proof was rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    #[error(
        "this relay uses protocol version {PROTOCOL_VERSION}, the exec-server {0}; update the older of the two"
    )]
    Version(u32),
    #[error("this relay does not accept the authority '{0}'; start it with --authority {0}")]
    Authority(String),
    #[error("the proof is malformed: expected {0}")]
    Malformed(&'static str),
    #[error("the signature does not match the key, this challenge and this relay's authority")]
    Signature,
}

/// The authorities that a relay accepts.
pub(crate) struct RelayAuthorities<'a> {
    pub(crate) configured: &'a [String],
    /// The relay's address on the connection.
    pub(crate) local: SocketAddr,
}

impl RelayAuthorities<'_> {
    /// Checks that this authority is the relay's.
    pub(crate) fn check(&self, authority: &str) -> Result<(), ProofError> {
        if self.includes(authority) {
            return Ok(());
        }
        Err(ProofError::Authority(SanitizedText(authority).to_string()))
    }

    fn includes(&self, authority: &str) -> bool {
        let port = self.local.port();
        let is = |name: &str| name.eq_ignore_ascii_case(authority);
        if !self.configured.is_empty() {
            return self
                .configured
                .iter()
                .any(|name| is(name) || is(&format!("{name}:{port}")));
        }
        let ip = self.local.ip().to_canonical();
        is(&SocketAddr::new(ip, port).to_string()) || (ip.is_loopback() && is(&format!("localhost:{port}")))
    }
}

/// Verifies a proof against the challenge and the authority the exec-server dialled.
pub(crate) fn verify(
    version: u32,
    public_key: &[u8],
    signature: &[u8],
    dial_token_hash: &[u8],
    nonce: &[u8; 32],
    authority: &str,
) -> Result<ProvenIdentity, ProofError> {
    if version != PROTOCOL_VERSION {
        return Err(ProofError::Version(version));
    }
    if public_key.len() != 32 {
        return Err(ProofError::Malformed("a public key of 32 bytes"));
    }
    if signature.len() != 64 {
        return Err(ProofError::Malformed("a signature of 64 bytes"));
    }
    let dial_token_hash: [u8; 32] = dial_token_hash
        .try_into()
        .map_err(|_| ProofError::Malformed("a dial token hash of 32 bytes"))?;
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&signed_message(nonce, authority, &dial_token_hash), signature)
        .map_err(|_| ProofError::Signature)?;
    Ok(ProvenIdentity {
        id: exec_server_id(public_key),
        dial_token_hash,
    })
}

impl ProofError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Version(_) | Self::Authority(_) => Code::FailedPrecondition,
            Self::Malformed(_) => Code::InvalidArgument,
            Self::Signature => Code::Unauthenticated,
        }
    }

    pub(crate) fn counts_as(&self) -> RefusalReason {
        match self {
            Self::Version(_) | Self::Authority(_) => RefusalReason::Precondition,
            Self::Malformed(_) => RefusalReason::Malformed,
            Self::Signature => RefusalReason::NotAuthorised,
        }
    }
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    fn answers_to(configured: &[&str], local: &str, authority: &str) -> bool {
        let configured: Vec<String> = configured.iter().map(|name| (*name).to_owned()).collect();
        let local = local.parse().unwrap();
        RelayAuthorities {
            configured: &configured,
            local,
        }
        .includes(authority)
    }

    #[test]
    fn without_configuration_a_relay_answers_to_its_socket_address() {
        assert!(answers_to(&[], "10.0.0.1:7", "10.0.0.1:7"));
        assert!(answers_to(&[], "[::ffff:10.0.0.1]:7", "10.0.0.1:7"));
        assert!(answers_to(&[], "127.0.0.1:7", "localhost:7"));
        assert!(answers_to(&[], "[::1]:7", "LOCALHOST:7"));
        assert!(answers_to(&[], "[::1]:7", "[::1]:7"));
        for other in ["10.0.0.1:8", "10.0.0.2:7", "localhost:7", "10.0.0.1", ""] {
            assert!(!answers_to(&[], "10.0.0.1:7", other), "{other}");
        }
        assert!(!answers_to(&[], "127.0.0.1:7", "localhost:8"));
    }

    #[test]
    fn with_configuration_it_answers_to_those_names_only() {
        let names = ["relay.example.com", "other:443"];
        for own in ["relay.example.com", "Relay.Example.com:7", "other:443"] {
            assert!(answers_to(&names, "10.0.0.1:7", own), "{own}");
        }
        for other in ["10.0.0.1:7", "relay.example.com:8", "other", "evil.com:7"] {
            assert!(!answers_to(&names, "10.0.0.1:7", other), "{other}");
        }
    }
}
