//! Provides snow with primitives from aws-lc-rs and, in [`kem`], with ML-KEM-768; all randomness is the operating
//! system's.
//!
//! aws-lc's own generator is never used: its first use costs 27 ms of jitter entropy per process.

use std::cell::Cell;

use aws_lc_rs::{aead, agreement, digest};
use snow::params::{CipherChoice, DHChoice, HashChoice, KemChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Kem, Random};
use zeroize::Zeroize;

#[cfg(test)]
pub(crate) mod hostile;
pub(crate) mod kem;

use kem::{KemRandomness, MlKem768};

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;

/// Resolves only the primitives of [`SUITE`](crate::suite::SUITE), for one handshake.
pub(crate) struct Resolver {
    /// Taken by the handshake's KEM.
    kem: Cell<Option<KemRandomness>>,
}

impl Resolver {
    pub(crate) fn new(kem: KemRandomness) -> Self {
        Self {
            kem: Cell::new(Some(kem)),
        }
    }

    /// A resolver whose KEM cannot generate a key.
    #[cfg(test)]
    pub(crate) fn without_kem_randomness() -> Self {
        Self { kem: Cell::new(None) }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OsRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Sha256>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::AESGCM).then(|| Box::<AesGcm>::default() as Box<dyn Cipher>)
    }

    fn resolve_kem(&self, _placeholder: &KemChoice) -> Option<Box<dyn Kem>> {
        Some(Box::new(MlKem768::new(self.kem.take())))
    }
}

struct OsRandom;

impl Random for OsRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        fill(dest).map_err(|_| snow::Error::Rng)
    }
}

/// Fills with randomness of the operating system; in unit tests, with what [`ephemeral`] has prepared.
fn fill(dest: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(test)]
    if let Some(prepared) = ephemeral::next(dest.len()) {
        dest.copy_from_slice(&prepared?);
        return Ok(());
    }
    getrandom::fill(dest)
}

#[derive(Default)]
struct X25519 {
    private: [u8; KEY_LEN],
    /// The parsed private key. Parsing multiplies the base point, so it is done once and not for each agreement.
    key: Option<agreement::PrivateKey>,
    public: [u8; KEY_LEN],
}

impl X25519 {
    fn derive(&mut self) -> Result<(), snow::Error> {
        self.key = None;
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, &self.private)
            .map_err(|_| snow::Error::Dh)?;
        let public = key.compute_public_key().map_err(|_| snow::Error::Dh)?;
        self.public.copy_from_slice(public.as_ref());
        self.key = Some(key);
        Ok(())
    }
}

impl Drop for X25519 {
    fn drop(&mut self) {
        self.private.zeroize();
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
        // snow has checked the length. A key whose public half cannot be computed leaves zeros, and every
        // agreement with it fails.
        self.private.copy_from_slice(privkey);
        self.public = [0; KEY_LEN];
        let _ = self.derive();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut self.private)?;
        self.derive()
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    /// Fails for a low-order peer key: snow would accept the all-zero result.
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let peer = pubkey.get(..KEY_LEN).ok_or(snow::Error::Dh)?;
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, peer);
        let key = self.key.as_ref().ok_or(snow::Error::Dh)?;
        agreement::agree(key, peer, snow::Error::Dh, |shared| {
            if shared.iter().fold(0, |acc, byte| acc | byte) == 0 {
                return Err(snow::Error::Dh);
            }
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

/// AES-256-GCM with a Noise nonce; without a key it seals and opens nothing.
#[derive(Default)]
pub(crate) struct AesGcm(Option<aead::LessSafeKey>);

impl AesGcm {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key);
        Self(key.ok().map(aead::LessSafeKey::new))
    }

    /// Encrypts a message without associated data in place, and returns its tag.
    pub(crate) fn seal(&self, nonce: u64, message: &mut [u8]) -> Option<aead::Tag> {
        let key = self.0.as_ref()?;
        key.seal_in_place_separate_tag(Self::nonce(nonce), aead::Aad::empty(), message)
            .ok()
    }

    /// Decrypts a message into `out`, which is as long as the plaintext. Returns that length.
    pub(crate) fn open(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let len = ciphertext.len().checked_sub(TAG_LEN)?;
        let (body, tag) = ciphertext.split_at(len);
        let (key, aad) = (self.0.as_ref()?, aead::Aad::from(authtext));
        key.open_separate_gather(Self::nonce(nonce), aad, body, tag, out.get_mut(..len)?)
            .ok()?;
        Some(len)
    }

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
        *self = Self::new(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, tag) = out[..plaintext.len() + TAG_LEN].split_at_mut(plaintext.len());
        self.0
            .as_ref()
            .and_then(|key| {
                let aad = aead::Aad::from(authtext);
                key.seal_out_of_place_scatter(Self::nonce(nonce), aad, plaintext, body, &[], tag)
                    .ok()
            })
            // The trait returns no error. Sealing cannot fail: the key was set (snow never encrypts without one), and
            // the length is below AES-GCM's limit. After a failure, `out` would not be a sealed message.
            .expect("AES-256-GCM seals any message of a Noise session");
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        self.open(nonce, authtext, ciphertext, out)
            .ok_or(snow::Error::Decrypt)
    }
}

/// Prepared randomness for unit tests of this crate. Only test builds contain this module.
#[cfg(test)]
pub(crate) mod ephemeral {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// `None`: the operating system has no randomness.
    type Prepared = VecDeque<Option<Vec<u8>>>;

    thread_local! {
        static NEXT: RefCell<Prepared> = const { RefCell::new(VecDeque::new()) };
    }

    /// Sets the X25519 keys of the next handshakes of this thread, in this order.
    pub(crate) fn fix(keys: impl IntoIterator<Item = [u8; 32]>) {
        NEXT.with_borrow_mut(|next| next.extend(keys.into_iter().map(|key| Some(key.to_vec()))));
    }

    /// Sets what the KEM of the next handshake of this thread draws; the X25519 key is drawn after it. An initiator's
    /// KEM uses all of it (`d` and `z`), a responder's the first half (`m`).
    pub(crate) fn fix_kem(randomness: [u8; 64]) {
        NEXT.with_borrow_mut(|next| next.push_back(Some(randomness.to_vec())));
    }

    /// Makes the next draw of this thread fail.
    pub(crate) fn fail() {
        NEXT.with_borrow_mut(|next| next.push_back(None));
    }

    /// Whether everything prepared was drawn.
    pub(crate) fn all_drawn() -> bool {
        NEXT.with_borrow(VecDeque::is_empty)
    }

    /// Draws `len` bytes. Random if what is prepared has another length.
    pub(super) fn next(len: usize) -> Option<Result<Vec<u8>, getrandom::Error>> {
        NEXT.with_borrow_mut(|next| {
            let is_next = next
                .front()
                .is_some_and(|bytes| bytes.as_ref().is_none_or(|bytes| bytes.len() == len));
            let bytes = if is_next { next.pop_front()? } else { return None };
            Some(bytes.ok_or(getrandom::Error::UNSUPPORTED))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_order_points_are_refused() {
        let mut dh = X25519::default();
        dh.generate(&mut OsRandom).unwrap();
        for point in crate::low_order::strings() {
            assert!(dh.dh(&point, &mut [0; 32]).is_err(), "{point:02x?}");
        }
    }
}
