//! rustls's cryptography from aws-lc-rs, without aws-lc's own random generator.
//!
//! The first number of that generator costs a process 27 ms (jitter entropy), which every short `baton exec` would pay.
//! TLS needs randomness twice: for the hello, and for its X25519 key. Here both use getrandom(2), as the Noise
//! handshake does.

use aws_lc_rs::agreement;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use zeroize::Zeroizing;

/// Length in bytes of X25519's private keys, public keys and shared secrets (RFC 7748 section 6.1).
const KEY_LEN: usize = 32;

/// Prefers X25519. A third-party TLS proxy in front of a relay may support only the NIST curves, which use aws-lc's
/// generator.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![&X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        secure_random: &OsRandom,
        ..default_provider()
    }
}

#[derive(Debug)]
struct OsRandom;

impl SecureRandom for OsRandom {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(buf).map_err(|_| GetRandomFailed)
    }
}

#[derive(Debug)]
struct X25519;

/// An ephemeral key, before the relay's key share arrives.
struct EphemeralKey {
    private: agreement::PrivateKey,
    public: [u8; KEY_LEN],
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(&mut *seed).map_err(|_| GetRandomFailed)?;
        let refused = |_| Error::General("X25519 refused a random key".into());
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, &*seed)
            .map_err(|_| Error::General("X25519 refused a random key".into()))?;
        let mut public = [0; KEY_LEN];
        public.copy_from_slice(private.compute_public_key().map_err(refused)?.as_ref());
        Ok(Box::new(EphemeralKey { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for EphemeralKey {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let refused = || Error::from(PeerMisbehaved::InvalidKeyShare);
        if peer.len() != KEY_LEN {
            return Err(refused());
        }
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, peer);
        agreement::agree(&self.private, peer, refused(), |shared| {
            // An all-zero secret results from a low-order point (RFC 8446 section 7.4.2).
            if shared.iter().fold(0, |all, byte| all | byte) == 0 {
                return Err(refused());
            }
            Ok(SharedSecret::from(shared))
        })
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_an_exchange_agree() {
        let (ours, theirs) = (X25519.start().unwrap(), X25519.start().unwrap());
        let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let one = ours.complete(&their_key).unwrap();
        let other = theirs.complete(&our_key).unwrap();
        assert_eq!(one.secret_bytes(), other.secret_bytes());
    }

    #[test]
    fn an_exchange_with_aws_lc_s_own_x25519_agrees() {
        let ours = X25519.start().unwrap();
        let theirs = kx_group::X25519.start().unwrap();
        let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let one = ours.complete(&their_key).unwrap();
        let other = theirs.complete(&our_key).unwrap();
        assert_eq!(one.secret_bytes(), other.secret_bytes());
    }

    #[test]
    fn key_shares_of_wrong_length_or_low_order_are_refused() {
        for len in [0, 31, 33] {
            let share = vec![9; len];
            assert!(X25519.start().unwrap().complete(&share).is_err(), "{len}");
        }
        for point in baton_noise::fuzz::low_order_points() {
            assert!(X25519.start().unwrap().complete(&point).is_err(), "{point:02x?}");
        }
    }
}
