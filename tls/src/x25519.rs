//! X25519 (RFC 7748, RFC 8446 section 4.2.8.2) from aws-lc-rs, with its private key from the operating system.

use aws_lc_rs::agreement;
use rustls::crypto::{ActiveKeyExchange, SecureRandom, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use zeroize::Zeroizing;

/// Length in bytes of X25519's private keys, public keys and shared secrets (RFC 7748 section 6.1).
pub(crate) const KEY_LEN: usize = 32;

/// The group.
#[derive(Debug)]
pub(crate) struct X25519 {
    pub(crate) random: &'static dyn SecureRandom,
}

/// An ephemeral key, before the peer's key share arrives.
pub(crate) struct EphemeralKey {
    private: agreement::PrivateKey,
    public: [u8; KEY_LEN],
}

impl EphemeralKey {
    pub(crate) fn generate(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        random.fill(&mut *seed)?;
        // Cannot fail: each 32 bytes are a private key.
        let refused = || Error::General("X25519 refused a random key".into());
        let private =
            agreement::PrivateKey::from_private_key(&agreement::X25519, &*seed).map_err(|_| refused())?;
        let mut public = [0; KEY_LEN];
        public.copy_from_slice(private.compute_public_key().map_err(|_| refused())?.as_ref());
        Ok(Self { private, public })
    }

    pub(crate) fn public(&self) -> &[u8; KEY_LEN] {
        &self.public
    }

    /// Passes the secret shared with the owner of `peer` to `then`. The peer is at fault for a key of wrong length or
    /// low order.
    pub(crate) fn agree<T>(
        &self,
        peer: &[u8],
        then: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
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
            then(shared)
        })
    }
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(EphemeralKey::generate(self.random)?))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for EphemeralKey {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.agree(peer, |shared| Ok(SharedSecret::from(shared)))
    }

    fn pub_key(&self) -> &[u8] {
        self.public()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::GetRandomFailed;
    use rustls::crypto::aws_lc_rs::kx_group;

    use super::*;
    use crate::X25519;
    use crate::random::NoRandom;

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
    fn key_shares_of_wrong_length_or_low_order_are_the_peers_fault() {
        let wrong_lengths = [0, 31, 33].map(|len| vec![9; len]);
        let low_order = baton_noise::fuzz::low_order_points().map(Vec::from);
        for share in wrong_lengths.into_iter().chain(low_order) {
            let refused = X25519.start().unwrap().complete(&share).err();
            let expected = Error::from(PeerMisbehaved::InvalidKeyShare);
            assert_eq!(refused, Some(expected), "{share:02x?}");
        }
    }

    #[test]
    fn without_randomness_there_is_no_key() {
        let group = super::X25519 { random: &NoRandom };
        assert_eq!(group.start().err(), Some(Error::from(GetRandomFailed)));
    }
}
