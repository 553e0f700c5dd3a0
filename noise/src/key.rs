//! Keys: a client's or an exec-server's static Noise key, the exec-server's registration key, and their files.
//!
//! A key file contains one 32-byte seed. All keys are derived from it (HKDF-SHA256, RFC 5869, one label per use), so
//! that one file is one identity and a ticket stays valid across restarts. Secrets are zeroised on drop and `Debug`
//! prints none of them.
//!
//! * here: the keys derived from a seed;
//! * `key/file.rs`: the file of the seed;
//! * `key/fingerprint.rs`: keyed hashes of commands, for traces;
//! * `key/generation.rs`: the generation of the valid dial token.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::{agreement, hkdf, signature};
use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::access::Exposure;
use crate::low_order::is_low_order;
use crate::suite::SUITE;

mod file;
mod fingerprint;
mod generation;

pub use fingerprint::{Fingerprint, FingerprintKey};
pub use generation::Generation;

/// A static Noise key pair (X25519).
pub struct StaticKey {
    private: Secret,
    public: PublicKey,
}

/// 32 secret bytes that stay at one address: a move copies only the pointer and leaves no copy of the secret.
type Secret = Box<Zeroizing<[u8; 32]>>;

/// A static Noise public key. As text it names its suite: `Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256:…` (base64url).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// The secret of a key file.
pub struct Seed(Secret);

// Their fields are zeroised on drop.
impl ZeroizeOnDrop for StaticKey {}
impl ZeroizeOnDrop for Seed {}

/// The keys and the dial token of an exec-server.
pub struct ServerKeys {
    /// For the Noise handshake.
    pub noise: StaticKey,
    /// For the registration with a relay.
    pub registration: RegistrationKey,
    /// The secret that clients present to the relay; part of the ticket.
    pub dial_token: DialToken,
}

/// An Ed25519 key pair (RFC 8032).
pub struct RegistrationKey(signature::Ed25519KeyPair);

/// 32 secret bytes that a `Dial` must contain.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DialToken(pub [u8; 32]);

/// A key could not be generated, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a public key of a supported suite.
    #[error("not a public key: expected {SUITE}:<43 characters of base64url>")]
    PublicKey,
    /// A low-order point: every shared secret would be zero.
    #[error("a public key of low order, with which nothing can be kept secret: ask its owner for another")]
    LowOrder,
    /// An operation of the operating system failed.
    #[error("cannot {action} the key file {path}: {source}")]
    File {
        /// "read" or "write".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file exists, and a key is never overwritten.
    #[error(
        "{path} is there already and a key is never overwritten: print its public line with `baton keygen --public {path}`, \
         or name another file for a new key"
    )]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The key file does not exist.
    #[error("there is no key file {path}: make one with `baton keygen {path}`")]
    Absent {
        /// Which file.
        path: PathBuf,
    },
    /// Other users could read or replace the secret.
    #[error(
        "the key file {path} is open to others (mode {mode:03o}): run `chmod 600 {path}`, or make a new key if others have seen it"
    )]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Other users could change the file, and so make a revoked ticket valid again.
    #[error("{path} is not used, because {exposure}: run `{} {path}`", .exposure.command())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// How other users can change it.
        exposure: Exposure,
    },
    /// The file does not contain a generation.
    #[error(
        "{path} holds no generation of a dial token: restore it; without the file the first tickets are valid again, revoked ones among them"
    )]
    Generation {
        /// Which file.
        path: PathBuf,
    },
    /// A directory, a FIFO, a socket or a device.
    #[error("{path} is not a regular file: pass the path of a regular file")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not a key file.
    #[error("{path} is not a Baton key file: make one with `baton keygen {path}`")]
    Format {
        /// Which file.
        path: PathBuf,
    },
    /// No randomness, or the crypto library refused.
    #[error("cannot make a key: no randomness from the operating system")]
    Random,
}

impl StaticKey {
    /// A new random key.
    pub fn generate() -> Result<Self, KeyError> {
        Seed::generate()?.client_key()
    }

    fn from_private(private: Secret) -> Result<Self, KeyError> {
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, &**private)
            .and_then(|key| {
                key.compute_public_key()
                    .map_err(|_| aws_lc_rs::error::KeyRejected::from(aws_lc_rs::error::Unspecified))
            })
            .map_err(|_| KeyError::Random)?;
        let mut public = [0; 32];
        public.copy_from_slice(key.as_ref());
        Ok(Self {
            private,
            public: PublicKey(public),
        })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The secret key, for the handshake and for what is derived from it.
    pub(crate) fn expose(&self) -> &[u8] {
        &**self.private
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticKey({}, <redacted>)", self.public)
    }
}

impl PublicKey {
    /// Converts the 32 bytes of an X25519 public key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SUITE}:{}", BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text
            .strip_prefix(SUITE)
            .and_then(|rest| rest.strip_prefix(':'))
            .ok_or(KeyError::PublicKey)?;
        let bytes = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| KeyError::PublicKey)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| KeyError::PublicKey)?;
        if is_low_order(&key) {
            return Err(KeyError::LowOrder);
        }
        Ok(Self(key))
    }
}

impl Seed {
    /// A new random seed.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Secret::default();
        getrandom::fill(&mut **seed).map_err(|_| KeyError::Random)?;
        Ok(Self(seed))
    }

    /// A seed that is stored elsewhere than in a key file. Its holder can derive all keys.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    /// The static Noise key of a client.
    pub fn client_key(&self) -> Result<StaticKey, KeyError> {
        StaticKey::from_private(self.derive(b"baton noise static v1"))
    }

    /// The keys of an exec-server.
    pub fn server_keys(&self) -> Result<ServerKeys, KeyError> {
        let registration = self.derive(b"baton registration v1");
        Ok(ServerKeys {
            noise: self.client_key()?,
            registration: signature::Ed25519KeyPair::from_seed_unchecked(&**registration)
                .map(RegistrationKey)
                .map_err(|_| KeyError::Random)?,
            dial_token: self.dial_token(Generation::default()),
        })
    }

    /// The dial token of this generation. Tokens are independent: one reveals nothing about the next.
    pub fn dial_token(&self, Generation(number): Generation) -> DialToken {
        let label = b"baton dial token v1";
        // The derivation from before generations existed, so that tickets from then stay valid.
        let token = match number {
            0 => self.derive(label),
            number => self.derive(&[&label[..], b" generation ", &number.to_be_bytes()].concat()),
        };
        DialToken(**token)
    }

    fn derive(&self, label: &[u8]) -> Secret {
        let mut out = Secret::default();
        // HKDF's limit is above 32 bytes, so neither step can fail.
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"baton")
            .extract(&**self.0)
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut **out))
            .expect("HKDF-SHA256 expands to 32 bytes");
        out
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(<redacted>)")
    }
}

impl RegistrationKey {
    /// The public half, 32 bytes.
    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs a registration.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKeys({}, <redacted>)", self.noise.public)
    }
}

impl fmt::Debug for DialToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialToken(<redacted>)")
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod wiped;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_name_their_suite() {
        let key = StaticKey::generate().unwrap();
        let text = key.public().to_string();
        assert!(text.starts_with("Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256:"));
        assert_eq!(text.parse::<PublicKey>().unwrap(), *key.public());
        for bad in [
            "",
            "Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256:",
            &text.replace("IKhfs_25519+MLKEM768", "IK_25519"),
            &text[5..],
            &format!("{text}A"),
        ] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let seed = Seed(Box::new(Zeroizing::new([7; 32])));
        let keys = seed.server_keys().unwrap();
        let printed = format!("{seed:?} {keys:?} {:?} {:?}", keys.dial_token, keys.noise);
        assert!(printed.contains("<redacted>"));
        for secret in [&**seed.0, &**keys.noise.private, &keys.dial_token.0] {
            assert!(!printed.contains(&BASE64URL_NOPAD.encode(secret)));
            assert!(!printed.contains(&format!("{secret:?}")));
        }
    }

    #[test]
    fn secrets_are_zeroised_on_drop() {
        fn is_zeroised<T: ZeroizeOnDrop>(_: &T) {}
        let seed = Seed::generate().unwrap();
        let keys = seed.server_keys().unwrap();
        is_zeroised(&seed);
        is_zeroised(&*seed.0);
        is_zeroised(&*keys.noise.private);
        is_zeroised(&keys.dial_token);
        // aws-lc owns the bytes of the registration key, and overwrites memory that it frees.
    }

    #[test]
    fn each_generation_has_a_dial_token_of_its_own() {
        let seed = Seed::from_bytes([7; 32]);
        let token = |number| seed.dial_token(Generation(number)).0;
        assert_eq!(token(0), seed.server_keys().unwrap().dial_token.0);
        assert!(token(0) != token(1) && token(1) != token(2) && token(0) != token(256));
        assert_ne!(token(1), Seed::from_bytes([8; 32]).dial_token(Generation(1)).0);
    }

    #[test]
    fn a_public_key_of_low_order_is_refused_as_text() {
        for point in crate::low_order::strings() {
            let text = PublicKey::from_bytes(point).to_string();
            assert!(
                matches!(text.parse::<PublicKey>(), Err(KeyError::LowOrder)),
                "{text}"
            );
        }
    }
}
