//! A KEM of a hostile initiator: its key is invalid, and the rest of its handshake is not.

use baton_kem::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, SHARED_SECRET_LEN};
use snow::params::{CipherChoice, DHChoice, HashChoice, KemChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Kem, Random};

use super::Resolver;

/// Resolves [`InvalidKey`] as the KEM.
pub(crate) struct HostileResolver(pub(crate) Resolver);

impl CryptoResolver for HostileResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.0.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        self.0.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        self.0.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        self.0.resolve_cipher(choice)
    }

    fn resolve_kem(&self, _: &KemChoice) -> Option<Box<dyn Kem>> {
        Some(Box::new(InvalidKey))
    }
}

/// Every coefficient of its key is above the modulus.
struct InvalidKey;

impl Kem for InvalidKey {
    fn name(&self) -> &'static str {
        "MLKEM768"
    }

    fn pub_len(&self) -> usize {
        ENCAPSULATION_KEY_LEN
    }

    fn ciphertext_len(&self) -> usize {
        CIPHERTEXT_LEN
    }

    fn shared_secret_len(&self) -> usize {
        SHARED_SECRET_LEN
    }

    fn generate(&mut self, _: &mut dyn Random) {}

    fn pubkey(&self) -> &[u8] {
        &[0xff; ENCAPSULATION_KEY_LEN]
    }

    fn encapsulate(&self, _: &[u8], _: &mut [u8], _: &mut [u8]) -> Result<(usize, usize), snow::Error> {
        Err(snow::Error::Kem)
    }

    fn decapsulate(&self, _: &[u8], _: &mut [u8]) -> Result<usize, snow::Error> {
        Err(snow::Error::Kem)
    }
}
