//! `docs/vectors/keys.json`.

use baton_proto::registration::{dial_token_hash, exec_server_id};
use baton_vectors::{Case, Vector, check};

use super::file::parse_file;
use super::*;
use crate::low_order;

fn client(name: &str, seed: [u8; 32]) -> Case {
    let key = Seed::from_bytes(seed).client_key().unwrap();
    Case::new("noise key", name)
        .bytes("seed", seed)
        .with("key_file", Seed::from_bytes(seed).line().as_str())
        .bytes("private_key", key.expose())
        .bytes("public_key", key.public().as_bytes())
        .with("public_key_text", key.public().to_string())
}

fn registration(name: &str, seed: [u8; 32]) -> Case {
    let seed = Seed::from_bytes(seed);
    let public_key = seed.server_keys().unwrap().registration.public().to_vec();
    Case::new("registration key", name)
        .bytes("seed", **seed.0)
        .bytes("private_key", **seed.derive(b"baton registration v1"))
        .bytes("public_key", &public_key)
        .bytes("exec_server_id", exec_server_id(&public_key).0)
}

fn token(name: &str, seed: [u8; 32], generation: u64) -> Case {
    let token = Seed::from_bytes(seed).dial_token(Generation(generation));
    Case::new("dial token", name)
        .bytes("seed", seed)
        .with("generation", generation)
        .bytes("dial_token", token.0)
        .bytes("dial_token_hash", dial_token_hash(&token.0))
}

/// `malformed` or `low order`.
fn refusal(text: &str) -> &'static str {
    match text.parse::<PublicKey>() {
        Err(KeyError::PublicKey) => "malformed",
        Err(KeyError::LowOrder) => "low order",
        other => panic!("{text} is read as {other:?}"),
    }
}

fn refused(name: &str, text: &str) -> Case {
    Case::new("refused public key", name)
        .with("text", text)
        .with("error", refusal(text))
}

fn cases() -> Vec<Case> {
    let counting = std::array::from_fn(|at| at as u8);
    let text = PublicKey::from_bytes([9; 32]).to_string();
    let mut cases = vec![
        client("the seed 00 01 … 1f", counting),
        client("the seed 32 × ff", [0xff; 32]),
        registration("the seed 00 01 … 1f", counting),
        registration("the seed 32 × ff", [0xff; 32]),
        token("generation 0", counting, 0),
        token("generation 1", counting, 1),
        token("generation 2^64 − 1", counting, u64::MAX),
        refused("nothing", ""),
        refused("no key", &format!("{SUITE}:")),
        refused("no suite", &text[SUITE.len() + 1..]),
        refused("another suite", &text.replace("AESGCM", "ChaChaPoly")),
        refused(
            "31 bytes",
            &format!("{SUITE}:{}", BASE64URL_NOPAD.encode(&[9; 31])),
        ),
        refused(
            "33 bytes",
            &format!("{SUITE}:{}", BASE64URL_NOPAD.encode(&[9; 33])),
        ),
        refused("padding", &format!("{text}=")),
        refused(
            "bits behind the last byte",
            &format!("{}l", &text[..text.len() - 1]),
        ),
        refused("white space", &format!(" {text}")),
    ];
    cases.extend(low_order::strings().enumerate().map(|(at, point)| {
        refused(
            &format!("low order, {} of 14", at + 1),
            &PublicKey::from_bytes(point).to_string(),
        )
    }));
    for (name, text) in [
        ("nothing", String::new()),
        (
            "another tag",
            "baton-key-v2 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n".into(),
        ),
        (
            "31 bytes",
            format!("baton-key-v1 {}\n", BASE64URL_NOPAD.encode(&[1; 31])),
        ),
        (
            "padding",
            format!("baton-key-v1 {}=\n", BASE64URL_NOPAD.encode(&[1; 32])),
        ),
    ] {
        cases.push(Case::new("refused key file", name).with("text", text));
    }
    cases
}

fn decode(vector: Vector<'_>) {
    let seed = || Seed::from_bytes(vector.array("seed"));
    match vector.kind() {
        "noise key" => {
            let read = Seed(parse_file(vector.text("key_file").as_bytes()).unwrap());
            assert_eq!(**read.0, vector.array("seed"));
            let key = read.client_key().unwrap();
            assert_eq!(key.expose(), vector.bytes("private_key"));
            assert_eq!(key.public().as_bytes(), &vector.array("public_key"));
            assert_eq!(
                vector.text("public_key_text").parse::<PublicKey>().unwrap(),
                *key.public()
            );
        }
        "registration key" => {
            let key = seed().server_keys().unwrap().registration;
            assert_eq!(key.public(), vector.bytes("public_key"));
            let private_key: [u8; 32] = vector.array("private_key");
            let again = signature::Ed25519KeyPair::from_seed_unchecked(&private_key).unwrap();
            assert_eq!(again.public_key().as_ref(), key.public());
            assert_eq!(exec_server_id(key.public()).0, vector.array("exec_server_id"));
        }
        "dial token" => {
            let token = seed().dial_token(Generation(vector.number("generation")));
            assert_eq!(token.0, vector.array("dial_token"));
            assert_eq!(dial_token_hash(&token.0), vector.array("dial_token_hash"));
        }
        "refused public key" => assert_eq!(refusal(vector.text("text")), vector.text("error")),
        "refused key file" => assert!(parse_file(vector.text("text").as_bytes()).is_none()),
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_keys_hold() {
    check(
        "keys.json",
        "Section 2: what follows from a seed, and the text of a public key. The line feed at the end of a key file is part of it.",
        &cases(),
        decode,
    );
}
