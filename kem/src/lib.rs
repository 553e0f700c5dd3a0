//! ML-KEM-768 (FIPS 203): the post-quantum half of the hybrid key exchanges.
//!
//! One side [makes a key pair](DecapsulationKey::from_seed) and sends the encapsulation key. The other side
//! [encapsulates](encapsulate) to it, which yields a shared secret and a ciphertext. The first side
//! [decapsulates](DecapsulationKey::decapsulate) the ciphertext to the same shared secret.
//!
//! * The algorithm is RustCrypto's `ml-kem`. Randomness is an argument, so that the caller handles a lack of it.
//! * Keys and ciphertexts are arrays of the lengths of FIPS 203, table 3, so a value of another length cannot be passed.
//! * A peer's encapsulation key passes the modulus check of FIPS 203, section 7.2, before it is used.
//! * A ciphertext that was not made for the key yields a secret that nobody else knows (implicit rejection, FIPS 203,
//!   section 6.3), never an error. The protocol above must notice that the secrets differ.
//! * Secrets lie on the heap and are overwritten on drop. Copies that `ml-kem` leaves on the stack are not.

use std::fmt;

use ml_kem::{Decapsulate as _, DecapsulationKey768, EncapsulationKey768, KeyExport as _};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// Length of an encapsulation key, in bytes.
pub const ENCAPSULATION_KEY_LEN: usize = 1184;
/// Length of a ciphertext, in bytes.
pub const CIPHERTEXT_LEN: usize = 1088;
/// Length of a shared secret, in bytes.
pub const SHARED_SECRET_LEN: usize = 32;
/// Length of the seed of a key pair, in bytes: `d`, then `z` (FIPS 203, section 7.1).
pub const SEED_LEN: usize = 64;
/// Length of the message that is encapsulated, in bytes: `m` (FIPS 203, section 7.2).
pub const MESSAGE_LEN: usize = 32;

/// A key pair. Its owner can decapsulate.
pub struct DecapsulationKey(Box<DecapsulationKey768>);

/// What both sides know after an encapsulation. Overwritten on drop.
pub struct SharedSecret(Box<Zeroizing<[u8; SHARED_SECRET_LEN]>>);

/// The peer's fault: a coefficient of its encapsulation key is not below the modulus (FIPS 203, section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid encapsulation key")]
pub struct InvalidKey;

impl DecapsulationKey {
    /// The key pair of this seed, `d` then `z`. The seed must be random, secret, and used once.
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Self {
        Self(Box::new(DecapsulationKey768::from_seed((*seed).into())))
    }

    /// The public half, for the peer.
    pub fn encapsulation_key(&self) -> [u8; ENCAPSULATION_KEY_LEN] {
        self.0.encapsulation_key().to_bytes().into()
    }

    /// The shared secret of a ciphertext. Another ciphertext than [`encapsulate`] made for this key yields a secret
    /// that the peer does not have.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> SharedSecret {
        SharedSecret::new(self.0.decapsulate(&(*ciphertext).into()))
    }
}

// `ml-kem` overwrites its fields on drop.
impl ZeroizeOnDrop for DecapsulationKey {}

impl fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecapsulationKey(<redacted>)")
    }
}

/// Makes a shared secret for the owner of an encapsulation key, and the ciphertext that tells it to the owner. `message`
/// is `m`: it must be random, secret, and used once.
///
/// # Errors
/// [`InvalidKey`].
pub fn encapsulate(
    key: &[u8; ENCAPSULATION_KEY_LEN],
    message: &[u8; MESSAGE_LEN],
) -> Result<([u8; CIPHERTEXT_LEN], SharedSecret), InvalidKey> {
    let key = EncapsulationKey768::new(&(*key).into()).map_err(|_| InvalidKey)?;
    let (ciphertext, secret) = key.encapsulate_deterministic(&(*message).into());
    Ok((ciphertext.into(), SharedSecret::new(secret)))
}

impl SharedSecret {
    fn new(mut secret: ml_kem::SharedKey) -> Self {
        let mut boxed = Box::new(Zeroizing::new([0; SHARED_SECRET_LEN]));
        boxed.copy_from_slice(&secret);
        secret.zeroize();
        Self(boxed)
    }

    /// The secret, as input of a key derivation.
    pub fn as_bytes(&self) -> &[u8; SHARED_SECRET_LEN] {
        &self.0
    }
}

// Its field is overwritten on drop.
impl ZeroizeOnDrop for SharedSecret {}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(<redacted>)")
    }
}
