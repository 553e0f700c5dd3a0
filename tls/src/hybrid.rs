//! X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem): X25519 and ML-KEM-768 side by side, on [`baton_kem`].
//!
//! | bytes | consist of |
//! |---|---|
//! | the client's key share | ML-KEM encapsulation key (1,184), X25519 public key (32) |
//! | the server's key share | ML-KEM ciphertext (1,088), X25519 public key (32) |
//! | the shared secret | ML-KEM secret (32), X25519 secret (32) |
//!
//! A share of another length, an encapsulation key that is none (FIPS 203 section 7.2) and an X25519 key of low order
//! are the peer's fault. A ciphertext always yields a secret. If it was made for another key, the secrets differ, and
//! the peer's `Finished` does not verify.

use baton_kem::{
    CIPHERTEXT_LEN, DecapsulationKey, ENCAPSULATION_KEY_LEN, InvalidKey, MESSAGE_LEN, SEED_LEN,
    SHARED_SECRET_LEN, encapsulate,
};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SecureRandom, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::Zeroizing;

use crate::x25519::{EphemeralKey, KEY_LEN};

/// The group.
#[derive(Debug)]
pub(crate) struct X25519MlKem768 {
    pub(crate) random: &'static dyn SecureRandom,
}

/// The client's two ephemeral keys, before the server's key share arrives.
struct EphemeralKeys {
    post_quantum: DecapsulationKey,
    classical: EphemeralKey,
    /// The key share.
    share: Vec<u8>,
}

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let classical = EphemeralKey::generate(self.random)?;
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        self.random.fill(&mut *seed)?;
        let post_quantum = DecapsulationKey::from_seed(&seed);
        let share = [&post_quantum.encapsulation_key()[..], classical.public()].concat();
        Ok(Box::new(EphemeralKeys {
            post_quantum,
            classical,
            share,
        }))
    }

    /// The server's side.
    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (encapsulation_key, public) = split::<ENCAPSULATION_KEY_LEN>(client_share)?;
        let classical = EphemeralKey::generate(self.random)?;
        let mut message = Zeroizing::new([0; MESSAGE_LEN]);
        self.random.fill(&mut *message)?;
        // Agreed first, because X25519 costs less to refuse.
        classical.agree(public, |shared| {
            let (ciphertext, secret) =
                encapsulate(encapsulation_key, &message).map_err(|InvalidKey| refused())?;
            Ok(CompletedKeyExchange {
                group: NamedGroup::X25519MLKEM768,
                pub_key: [&ciphertext[..], classical.public()].concat(),
                secret: join(secret.as_bytes(), shared),
            })
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

impl ActiveKeyExchange for EphemeralKeys {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, public) = split::<CIPHERTEXT_LEN>(server_share)?;
        self.classical.agree(public, |shared| {
            let secret = self.post_quantum.decapsulate(ciphertext);
            Ok(join(secret.as_bytes(), shared))
        })
    }

    /// Offers the X25519 key also by itself, so that a server without this group needs no second hello.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((NamedGroup::X25519, self.classical.public()))
    }

    fn complete_hybrid_component(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        Box::new(self.classical).complete(server_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

fn refused() -> Error {
    PeerMisbehaved::InvalidKeyShare.into()
}

/// Splits a key share into its ML-KEM part of `N` bytes and its X25519 key. The peer is at fault for another length.
fn split<const N: usize>(share: &[u8]) -> Result<(&[u8; N], &[u8; KEY_LEN]), Error> {
    let (post_quantum, classical) = share.split_first_chunk().ok_or_else(refused)?;
    Ok((post_quantum, classical.try_into().map_err(|_| refused())?))
}

/// The shared secret. rustls overwrites it on drop.
fn join(post_quantum: &[u8; SHARED_SECRET_LEN], classical: &[u8]) -> SharedSecret {
    SharedSecret::from([&post_quantum[..], classical].concat())
}

#[cfg(test)]
mod tests;
