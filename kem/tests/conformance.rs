//! ML-KEM-768 as FIPS 203 has it: known answers, another implementation, and the checks of inputs.

use aws_lc_rs::kem;
use baton_kem::{
    CIPHERTEXT_LEN, DecapsulationKey, ENCAPSULATION_KEY_LEN, InvalidKey, MESSAGE_LEN, SEED_LEN, encapsulate,
};
use hex_literal::hex;
use shake::{ExtendableOutput as _, Shake128, Update as _, XofReader as _};

/// The modulus of FIPS 203, section 2.3.
const Q: u16 = 3329;

const MESSAGE: [u8; MESSAGE_LEN] = [9; MESSAGE_LEN];

/// The accumulated vectors of the Go standard library's `crypto/mlkem`, in the format of C2SP/CCTV: inputs are drawn
/// from SHAKE128 of nothing, and the outputs are hashed with SHAKE128.
fn accumulated(tests: usize) -> [u8; 32] {
    let mut drawn = Shake128::default().finalize_xof();
    let mut outputs = Shake128::default();
    let (mut seed, mut message, mut random) = ([0; SEED_LEN], [0; MESSAGE_LEN], [0; CIPHERTEXT_LEN]);
    for _ in 0..tests {
        drawn.read(&mut seed);
        drawn.read(&mut message);
        drawn.read(&mut random);
        let key = DecapsulationKey::from_seed(&seed);
        let public = key.encapsulation_key();
        let (ciphertext, secret) = encapsulate(&public, &message).unwrap();
        assert_eq!(key.decapsulate(&ciphertext).as_bytes(), secret.as_bytes());
        outputs.update(&public);
        outputs.update(&ciphertext);
        outputs.update(secret.as_bytes());
        outputs.update(key.decapsulate(&random).as_bytes());
    }
    let mut hash = [0; 32];
    outputs.finalize_xof().read(&mut hash);
    hash
}

#[test]
fn keys_ciphertexts_and_secrets_are_those_of_the_accumulated_vectors() {
    let expected = hex!("1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415");
    assert_eq!(accumulated(100), expected);
    if std::env::var_os("BATON_TEST_FULL").is_some() {
        let expected = hex!("8a518cc63da366322a8e7a818c7a0d63483cb3528d34a4cf42f35d5ad73f22fc");
        assert_eq!(accumulated(10_000), expected);
    }
}

#[test]
fn aws_lc_encapsulates_to_our_key() {
    let ours = DecapsulationKey::from_seed(&[7; SEED_LEN]);
    let public = kem::EncapsulationKey::new(&kem::ML_KEM_768, &ours.encapsulation_key()).unwrap();
    let (ciphertext, secret) = public.encapsulate().unwrap();
    let ciphertext = ciphertext.as_ref().try_into().unwrap();
    assert_eq!(ours.decapsulate(ciphertext).as_bytes()[..], *secret.as_ref());
}

#[test]
fn aws_lc_decapsulates_our_ciphertext() {
    let theirs = kem::DecapsulationKey::generate(&kem::ML_KEM_768).unwrap();
    let public = theirs.encapsulation_key().unwrap().key_bytes().unwrap();
    let (ciphertext, secret) = encapsulate(public.as_ref().try_into().unwrap(), &MESSAGE).unwrap();
    let opened = theirs.decapsulate(ciphertext[..].into()).unwrap();
    assert_eq!(opened.as_ref(), secret.as_bytes());
}

#[test]
fn an_altered_ciphertext_yields_an_unrelated_secret() {
    let key = DecapsulationKey::from_seed(&[7; SEED_LEN]);
    let (ciphertext, secret) = encapsulate(&key.encapsulation_key(), &MESSAGE).unwrap();
    for at in [0, 500, 959, 960, CIPHERTEXT_LEN - 1] {
        let mut altered = ciphertext;
        altered[at] ^= 1;
        let rejected = key.decapsulate(&altered);
        assert_ne!(rejected.as_bytes(), secret.as_bytes());
        // The same ciphertext yields the same secret, so a peer cannot tell that it was rejected.
        assert_eq!(key.decapsulate(&altered).as_bytes(), rejected.as_bytes());
    }
}

/// Writes a coefficient of an encapsulation key (12 bits, FIPS 203, section 4.2.1).
fn set_coefficient(key: &mut [u8; ENCAPSULATION_KEY_LEN], at: usize, value: u16) {
    let (low, high) = (value as u8, (value >> 8) as u8);
    let first = at / 2 * 3;
    if at.is_multiple_of(2) {
        key[first] = low;
        key[first + 1] = key[first + 1] & 0xf0 | high;
    } else {
        key[first + 1] = key[first + 1] & 0x0f | low << 4;
        key[first + 2] = low >> 4 | high << 4;
    }
}

#[test]
fn a_key_with_a_coefficient_at_or_above_the_modulus_is_invalid() {
    let valid = DecapsulationKey::from_seed(&[7; SEED_LEN]).encapsulation_key();
    let refused = |at, value| {
        let mut key = valid;
        set_coefficient(&mut key, at, value);
        encapsulate(&key, &MESSAGE).err()
    };
    for at in 0..768 {
        assert_eq!(refused(at, Q - 1), None, "coefficient {at}");
        for value in [Q, Q + 1, 0xfff] {
            assert_eq!(refused(at, value), Some(InvalidKey), "coefficient {at} = {value}");
        }
    }
    assert_eq!(InvalidKey.to_string(), "invalid encapsulation key");
}

#[test]
fn debug_prints_no_secret() {
    let key = DecapsulationKey::from_seed(&[7; SEED_LEN]);
    let (_, secret) = encapsulate(&key.encapsulation_key(), &MESSAGE).unwrap();
    assert_eq!(
        format!("{key:?} {secret:?}"),
        "DecapsulationKey(<redacted>) SharedSecret(<redacted>)"
    );
}
