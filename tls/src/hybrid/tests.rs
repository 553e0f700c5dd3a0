use rustls::crypto::GetRandomFailed;
use rustls::crypto::aws_lc_rs::kx_group;

use super::*;
use crate::random::NoRandom;
use crate::{X25519, X25519_MLKEM768};

/// Length of a client's key share.
const CLIENT_SHARE_LEN: usize = 1216;
/// Length of a server's key share.
const SERVER_SHARE_LEN: usize = 1120;

fn invalid_key_share<T>() -> Result<T, Error> {
    Err(PeerMisbehaved::InvalidKeyShare.into())
}

/// The bytes of a secret, which has no `Debug`.
fn bytes(secret: Result<SharedSecret, Error>) -> Result<Vec<u8>, Error> {
    secret.map(|secret| secret.secret_bytes().to_vec())
}

/// The server's secret for a client's key share.
fn answer(share: &[u8]) -> Result<Vec<u8>, Error> {
    bytes(
        X25519_MLKEM768
            .start_and_complete(share)
            .map(|completed| completed.secret),
    )
}

fn agree(client: &dyn SupportedKxGroup, server: &dyn SupportedKxGroup) {
    let ours = client.start().unwrap();
    assert_eq!(ours.group(), NamedGroup::X25519MLKEM768);
    assert_eq!(ours.pub_key().len(), CLIENT_SHARE_LEN);
    let completed = server.start_and_complete(ours.pub_key()).unwrap();
    assert_eq!(completed.group, NamedGroup::X25519MLKEM768);
    assert_eq!(completed.pub_key.len(), SERVER_SHARE_LEN);
    let secret = bytes(ours.complete(&completed.pub_key)).unwrap();
    assert_eq!(secret, completed.secret.secret_bytes());
    assert_eq!(secret.len(), 64);
}

#[test]
fn both_sides_of_a_hybrid_exchange_agree_also_with_aws_lc() {
    agree(&X25519_MLKEM768, &X25519_MLKEM768);
    agree(&X25519_MLKEM768, kx_group::X25519MLKEM768);
    agree(kx_group::X25519MLKEM768, &X25519_MLKEM768);
}

#[test]
fn the_client_s_x25519_key_completes_an_exchange_by_itself() {
    let ours = X25519_MLKEM768.start().unwrap();
    let (group, public) = ours.hybrid_component().unwrap();
    assert_eq!(group, NamedGroup::X25519);
    assert_eq!(public, &ours.pub_key()[ENCAPSULATION_KEY_LEN..]);
    let completed = kx_group::X25519.start_and_complete(public).unwrap();
    let secret = bytes(ours.complete_hybrid_component(&completed.pub_key)).unwrap();
    assert_eq!(secret, completed.secret.secret_bytes());

    let ours = X25519_MLKEM768.start().unwrap();
    assert_eq!(
        bytes(ours.complete_hybrid_component(&[9; 31])),
        invalid_key_share()
    );
}

#[test]
fn hybrid_key_shares_of_every_wrong_length_are_the_peers_fault() {
    let share = X25519_MLKEM768.start().unwrap().pub_key().repeat(2);
    for len in (0..share.len()).filter(|len| *len != CLIENT_SHARE_LEN) {
        assert_eq!(
            answer(&share[..len]),
            invalid_key_share(),
            "{len} bytes of a client"
        );
    }
    let server = |len| bytes(X25519_MLKEM768.start().unwrap().complete(&share[..len]));
    for len in [0, 1, 32, 64, 1088, 1119, 1121, 1184, 1216, 2240] {
        assert_eq!(server(len), invalid_key_share(), "{len} bytes of a server");
    }
}

/// FIPS 203 section 7.2: each 12 bits are a number below 3,329.
#[test]
fn an_encapsulation_key_that_fails_fips_203_s_check_is_the_peers_fault() {
    let share = X25519_MLKEM768.start().unwrap().pub_key().to_vec();
    assert!(answer(&share).is_ok());
    for at in [0, 3, 600, 1149] {
        let mut altered = share.clone();
        altered[at..at + 3].fill(0xff);
        assert_eq!(answer(&altered), invalid_key_share(), "byte {at}");
    }
}

#[test]
fn a_low_order_x25519_key_in_a_hybrid_share_is_the_peers_fault() {
    let client = X25519_MLKEM768.start().unwrap().pub_key().to_vec();
    let server = X25519_MLKEM768.start_and_complete(&client).unwrap().pub_key;
    let with = |share: &[u8], point: &[u8]| [&share[..share.len() - KEY_LEN], point].concat();
    for point in baton_noise::fuzz::low_order_points() {
        assert_eq!(
            answer(&with(&client, &point)),
            invalid_key_share(),
            "{point:02x?}"
        );
        let ours = X25519_MLKEM768.start().unwrap();
        let completed = bytes(ours.complete(&with(&server, &point)));
        assert_eq!(completed, invalid_key_share(), "{point:02x?}");
    }
}

#[test]
fn an_altered_share_of_either_half_yields_another_secret() {
    for at in [0, CIPHERTEXT_LEN - 1, CIPHERTEXT_LEN, SERVER_SHARE_LEN - 2] {
        let ours = X25519_MLKEM768.start().unwrap();
        let mut completed = X25519_MLKEM768.start_and_complete(ours.pub_key()).unwrap();
        completed.pub_key[at] ^= 1;
        let secret = bytes(ours.complete(&completed.pub_key)).unwrap();
        assert_ne!(secret, completed.secret.secret_bytes(), "byte {at}");
    }
}

/// Has randomness for an X25519 key and for no more.
#[derive(Debug)]
struct OneKey;

impl SecureRandom for OneKey {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        match buf.len() {
            SEED_LEN => Err(GetRandomFailed),
            _ => X25519.random.fill(buf),
        }
    }
}

#[test]
fn without_randomness_there_is_no_share_of_either_side() {
    let failed = Some(Error::from(GetRandomFailed));
    assert_eq!(X25519MlKem768 { random: &NoRandom }.start().err(), failed);
    assert_eq!(X25519MlKem768 { random: &OneKey }.start().err(), failed);
    let share = X25519_MLKEM768.start().unwrap().pub_key().to_vec();
    let completed = X25519MlKem768 { random: &NoRandom }.start_and_complete(&share);
    assert_eq!(completed.err(), failed);
}
