//! What the keys of a session are made with.

/// The one Noise suite of this protocol version.
pub const SUITE: &str = "Noise_IK_25519_AESGCM_SHA256";
