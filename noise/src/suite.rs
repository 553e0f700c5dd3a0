//! The cipher suite of a session.

use snow::params::NoiseParams;

/// The one Noise suite of this protocol version: IK with the `hfs` modifier, whose hybrid forward secrecy is ML-KEM-768.
pub const SUITE: &str = "Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256";

/// The suite as snow's parameters. snow knows one KEM by name, so that one is parsed. Our name replaces the parsed one
/// in the hash, and our resolver provides the KEM.
pub(crate) fn params() -> Result<NoiseParams, snow::Error> {
    let known: NoiseParams = "Noise_IKhfs_25519+Kyber1024_AESGCM_SHA256".parse()?;
    Ok(NoiseParams::new(
        SUITE.to_owned(),
        known.base,
        known.handshake,
        known.dh,
        known.kem,
        known.cipher,
        known.hash,
    ))
}
