//! A key file or the text of a public key is accepted only in the encoding that this crate writes, with any
//! white space around the words of the file.

use std::path::Path;

use baton_fuzz::{Input, Script, Target};

use super::file::{FILE_TAG, parse_file};
use super::*;
use crate::limits::KEY_FILE_MAX;

/// The input: a public key's text, and a key file.
pub(crate) const KEYS: Target = Target {
    name: "keys",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let text = String::from_utf8_lossy(input.chunk());
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text, "two encodings of one key");
        assert!(!is_low_order(key.as_bytes()));
    }
    let file = input.rest();
    let path = Path::new("key");
    match parse_file(file) {
        Some(seed) => {
            assert!(file.len() <= KEY_FILE_MAX);
            let line = Seed(seed).line();
            let said = String::from_utf8_lossy(file);
            assert_eq!(
                line.split_whitespace().collect::<String>(),
                said.split_whitespace().collect::<String>(),
                "two encodings of one seed"
            );
        }
        None => assert!(KeyError::Format { path: path.into() }.to_string().contains("key")),
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |key: &str, file: &[u8]| Script::default().chunk(key.as_bytes()).raw(file).done();
    let key = PublicKey::from_bytes([9; 32]).to_string();
    let file = Seed::from_bytes([5; 32]).line();
    vec![
        ("good", of(&key, file.as_bytes())),
        (
            "white-space",
            of(
                &format!("{key} "),
                format!("\n  {FILE_TAG}\t {}\r\n", &file[13..].trim()).as_bytes(),
            ),
        ),
        ("short", of(&key[..key.len() - 1], b"baton-key-v1 AAAA")),
        (
            "trailing-bits",
            of(
                &format!("{}z", &key[..key.len() - 1]),
                format!("{}z", &file[..file.len() - 2]).as_bytes(),
            ),
        ),
        ("other", of("ssh-ed25519 AAAA", b"\xff\xfe")),
        (
            "low-order",
            of(&PublicKey::from_bytes([1; 32]).to_string(), b"baton-key-v1"),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_key_has_two_spellings() {
    baton_fuzz::replay(&KEYS);
}
