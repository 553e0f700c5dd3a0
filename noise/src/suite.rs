//! The cipher suite of a session.

/// The one Noise suite of this protocol version.
pub const SUITE: &str = "Noise_IK_25519_AESGCM_SHA256";
