//! ML-KEM-768 as snow's KEM.
//!
//! snow lets a key generation not fail, and reports a failed encapsulation without its cause. So the randomness of a
//! handshake is drawn before snow begins, where its failure is an error of this end. What can fail after that is the
//! peer's fault: its key.

use baton_kem::{
    CIPHERTEXT_LEN, DecapsulationKey, ENCAPSULATION_KEY_LEN, MESSAGE_LEN, SEED_LEN, SHARED_SECRET_LEN,
};
use snow::types::{Kem, Random};
use zeroize::Zeroizing;

use super::fill;

/// The KEM's randomness in one handshake. Overwritten on drop.
pub(crate) struct KemRandomness(Box<Zeroizing<[u8; SEED_LEN]>>);

impl KemRandomness {
    /// Draws from the operating system.
    pub(crate) fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = Box::new(Zeroizing::new([0; SEED_LEN]));
        fill(&mut **bytes)?;
        Ok(Self(bytes))
    }

    /// Known bytes, for genuine messages that can be committed.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn fixed(bytes: [u8; SEED_LEN]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }
}

/// One end's KEM. The initiator generates a key and decapsulates; the responder encapsulates.
pub(super) struct MlKem768 {
    /// `None`: used, or there is none.
    randomness: Option<KemRandomness>,
    key: Option<DecapsulationKey>,
    /// Empty without a key: a message with an empty key has another length, which the sender notices. A key of zeros
    /// would be sent.
    public: Vec<u8>,
}

impl MlKem768 {
    pub(super) fn new(randomness: Option<KemRandomness>) -> Self {
        Self {
            randomness,
            key: None,
            public: Vec::new(),
        }
    }
}

impl Kem for MlKem768 {
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

    fn generate(&mut self, _rng: &mut dyn Random) {
        (self.key, self.public) = (None, Vec::new());
        if let Some(KemRandomness(seed)) = self.randomness.take() {
            let key = DecapsulationKey::from_seed(&seed);
            self.public = key.encapsulation_key().to_vec();
            self.key = Some(key);
        }
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    /// Fails only for an invalid key: the randomness of a responder is there, because it generates no key.
    fn encapsulate(
        &self,
        pubkey: &[u8],
        shared_secret_out: &mut [u8],
        ciphertext_out: &mut [u8],
    ) -> Result<(usize, usize), snow::Error> {
        let key = pubkey.try_into().map_err(|_| snow::Error::Kem)?;
        let KemRandomness(randomness) = self.randomness.as_ref().ok_or(snow::Error::Kem)?;
        let message = randomness.first_chunk::<MESSAGE_LEN>().ok_or(snow::Error::Kem)?;
        let (ciphertext, secret) = baton_kem::encapsulate(key, message).map_err(|_| snow::Error::Kem)?;
        shared_secret_out[..SHARED_SECRET_LEN].copy_from_slice(secret.as_bytes());
        ciphertext_out[..CIPHERTEXT_LEN].copy_from_slice(&ciphertext);
        Ok((SHARED_SECRET_LEN, CIPHERTEXT_LEN))
    }

    fn decapsulate(&self, ciphertext: &[u8], shared_secret_out: &mut [u8]) -> Result<usize, snow::Error> {
        let key = self.key.as_ref().ok_or(snow::Error::Kem)?;
        let ciphertext = ciphertext.try_into().map_err(|_| snow::Error::Kem)?;
        shared_secret_out[..SHARED_SECRET_LEN].copy_from_slice(key.decapsulate(ciphertext).as_bytes());
        Ok(SHARED_SECRET_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::OsRandom;

    #[test]
    fn a_kem_without_randomness_has_an_empty_key_and_not_one_of_zeros() {
        let mut kem = MlKem768::new(None);
        kem.generate(&mut OsRandom);
        assert!(kem.pubkey().is_empty());
        assert!(kem.decapsulate(&[0; CIPHERTEXT_LEN], &mut [0; 32]).is_err());
    }

    #[test]
    fn randomness_makes_one_key_and_not_a_second() {
        let mut kem = MlKem768::new(Some(KemRandomness::fixed([7; SEED_LEN])));
        kem.generate(&mut OsRandom);
        let expected = DecapsulationKey::from_seed(&[7; SEED_LEN]).encapsulation_key();
        assert_eq!(kem.pubkey(), expected);
        kem.generate(&mut OsRandom);
        assert!(kem.pubkey().is_empty());
    }
}
