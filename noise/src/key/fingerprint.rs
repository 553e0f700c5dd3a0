//! Fingerprints of commands, which tell equal arguments from different ones and reveal neither.
//!
//! A fingerprint is in traces, which many people read. A plain hash of arguments could be found by guessing: most
//! commands are short. So it is keyed (HMAC-SHA256, RFC 2104) by a secret that only the client has, derived from its
//! static private key (HKDF-SHA256, RFC 5869). Fingerprints of two clients cannot be compared.

use aws_lc_rs::{hkdf, hmac};

use super::StaticKey;

/// The secret of a client's fingerprints.
pub struct FingerprintKey(hmac::Key);

/// The first bytes of an HMAC. Two different commands of a turn agree by chance in 1 of 2^64 cases.
pub type Fingerprint = [u8; 8];

impl StaticKey {
    /// The secret of this client's fingerprints.
    pub fn fingerprint_key(&self) -> FingerprintKey {
        // HKDF-SHA256 expands to 32 bytes, so the step cannot fail.
        let okm = hkdf::Salt::new(hkdf::HKDF_SHA256, b"baton");
        let prk = okm.extract(self.expose());
        let key = prk
            .expand(&[b"baton argument fingerprint v1"], hmac::HMAC_SHA256)
            .expect("HKDF-SHA256 expands to 32 bytes");
        FingerprintKey(hmac::Key::from(key))
    }
}

impl FingerprintKey {
    /// The fingerprint of a list of parts. Each is preceded by its length, so that no two lists give the same text.
    pub fn fingerprint<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(&tag.as_ref()[..8]);
        fingerprint
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use crate::key::Seed;

    fn fingerprint(seed: u8, parts: &[&str]) -> [u8; 8] {
        let key = Seed::from_bytes([seed; 32]).client_key().unwrap();
        let parts = parts.iter().map(|part| part.as_bytes());
        key.fingerprint_key().fingerprint(parts)
    }

    #[test]
    fn equal_commands_of_one_client_have_one_fingerprint() {
        assert_eq!(
            fingerprint(1, &["Run", "ls", "-l"]),
            fingerprint(1, &["Run", "ls", "-l"])
        );
    }

    #[test]
    fn other_arguments_boundaries_and_clients_have_others() {
        let known = fingerprint(1, &["Run", "ls", "-l"]);
        for (seed, parts) in [
            (1, &["Run", "ls", "-a"][..]),
            (1, &["Run", "ls-l"]),
            (1, &["Run", "ls", "-", "l"]),
            (1, &["Run", "ls", "-l", ""]),
            (2, &["Run", "ls", "-l"]),
        ] {
            assert_ne!(fingerprint(seed, parts), known, "{seed} {parts:?}");
        }
    }

    /// HMAC-SHA256 and HKDF-SHA256 of Python's `hmac`, so that the secret is used as documented.
    #[test]
    fn a_fingerprint_is_these_bytes() {
        let text = data_encoding::HEXLOWER.encode(&fingerprint(1, &["Run", "ls"]));
        assert_eq!(text, "870b8c53b749754d");
    }
}
