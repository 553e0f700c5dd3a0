//! A handshake of the Noise suite without ML-KEM, both ends: the floor of Baton's suite.
//!
//! It is snow with the same primitives from aws-lc-rs and the same randomness as `baton-noise`, with nothing around
//! them.

use aws_lc_rs::{aead, agreement, digest};
use baton_bench::Failure;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error};

/// The suite.
pub(crate) const SUITE: &str = "Noise_IK_25519_AESGCM_SHA256";

/// What a handshake is bound to; as long as that of a session.
pub(crate) const PROLOGUE: &[u8] = &[7; 160];

/// The payload of message 2; about as long as an exec-server's.
pub(crate) const PAYLOAD: &[u8] = &[7; 64];

/// Longer than either message.
const MESSAGE_LEN: usize = 256;

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;

/// The keys of both ends.
pub(crate) struct Classical {
    client: X25519,
    server: X25519,
}

impl Classical {
    pub(crate) fn generate() -> Result<Self, Failure> {
        let (mut client, mut server) = (X25519::default(), X25519::default());
        client.generate(&mut OsRandom)?;
        server.generate(&mut OsRandom)?;
        Ok(Self { client, server })
    }

    pub(crate) fn handshake(&self) -> Result<(), Failure> {
        let mut initiator = builder(&self.client)?
            .remote_public_key(self.server.pubkey())?
            .build_initiator()?;
        let (mut message, mut payload) = ([0; MESSAGE_LEN], [0; MESSAGE_LEN]);
        let len = initiator.write_message(&[], &mut message)?;
        let mut responder = builder(&self.server)?.build_responder()?;
        responder.read_message(&message[..len], &mut payload)?;
        let len = responder.write_message(PAYLOAD, &mut message)?;
        let _server = responder.into_stateless_transport_mode()?;
        initiator.read_message(&message[..len], &mut payload)?;
        let _client = initiator.into_stateless_transport_mode()?;
        Ok(())
    }
}

fn builder(key: &X25519) -> Result<Builder<'_>, Failure> {
    Ok(Builder::with_resolver(SUITE.parse()?, Box::new(Resolver))
        .local_private_key(key.privkey())?
        .prologue(PROLOGUE)?)
}

struct Resolver;

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OsRandom))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::<X25519>::default())
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn Hash>> {
        Some(Box::<Sha256>::default())
    }

    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::<AesGcm>::default())
    }
}

struct OsRandom;

impl Random for OsRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(dest).map_err(|_| Error::Rng)
    }
}

#[derive(Default)]
struct X25519 {
    private: [u8; KEY_LEN],
    public: [u8; KEY_LEN],
    key: Option<agreement::PrivateKey>,
}

impl X25519 {
    fn derive(&mut self) -> Option<()> {
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, &self.private).ok()?;
        self.public
            .copy_from_slice(key.compute_public_key().ok()?.as_ref());
        self.key = Some(key);
        Some(())
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, privkey: &[u8]) {
        self.private.copy_from_slice(privkey);
        // After a failure, every agreement fails.
        let _ = self.derive();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        rng.try_fill_bytes(&mut self.private)?;
        self.derive().ok_or(Error::Dh)
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let key = self.key.as_ref().ok_or(Error::Dh)?;
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, &pubkey[..KEY_LEN]);
        agreement::agree(key, peer, Error::Dh, |shared| {
            out[..KEY_LEN].copy_from_slice(shared);
            Ok(())
        })
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

#[derive(Default)]
struct AesGcm(Option<aead::LessSafeKey>);

impl AesGcm {
    /// 32 zero bits, then the counter in big endian (Noise section 12.4).
    fn nonce(counter: u64) -> aead::Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key);
        self.0 = key.ok().map(aead::LessSafeKey::new);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, tag) = out[..plaintext.len() + TAG_LEN].split_at_mut(plaintext.len());
        let (nonce, aad) = (Self::nonce(nonce), aead::Aad::from(authtext));
        let key = self.0.as_ref().expect("snow sets the key first");
        key.seal_out_of_place_scatter(nonce, aad, plaintext, body, &[], tag)
            .expect("the message is short");
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let len = ciphertext.len().checked_sub(TAG_LEN).ok_or(Error::Decrypt)?;
        let (body, tag) = ciphertext.split_at(len);
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        key.open_separate_gather(
            Self::nonce(nonce),
            aead::Aad::from(authtext),
            body,
            tag,
            &mut out[..len],
        )
        .map_err(|_| Error::Decrypt)?;
        Ok(len)
    }
}
