//! Every limit of the product is in its crate's `limits.rs` and has a doc comment.

use std::fs;
use std::path::PathBuf;

use baton_exec_server::limits::{KEPT_ENCODED_BYTES, READ_BYTES};
use baton_mux::limits::{RECEIVE_WINDOW, SEND_BUFFER};
use baton_support::sources::{crates, rust_files, workspace};

/// Words in the names of limits.
const WORDS: [&str; 12] = [
    "MAX", "LIMIT", "TIMEOUT", "GRACE", "PATIENCE", "QUEUE", "OUTBOX", "BURST", "INTERVAL", "BACKOFF",
    "WINDOW", "RETRIES",
];

/// Constants with such a name that are derived from a limit or from the wire format.
const DERIVED: [&str; 1] = ["relay/src/frames/deframer.rs MESSAGE_MAX"];

/// Crates that only tests use.
const NO_PRODUCT: [&str; 3] = ["fuzz", "fuzz/libfuzzer", "tests/faults"];

/// The name and type of a constant that a line declares.
fn constant(line: &str) -> Option<(&str, &str)> {
    let (before, declared) = line.trim_start().split_once("const ")?;
    let is_declaration = before.is_empty() || before.starts_with("pub");
    let (name, rest) = declared.split_once(": ")?;
    let kind = rest.split_once(" =")?.0;
    let is_constant = name
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    (is_declaration && is_constant).then_some((name, kind))
}

#[test]
fn an_exec_server_keeps_as_much_as_can_be_on_the_way_to_its_client() {
    // tonic encodes messages until it has 32 KiB, and the last one may be an output of any length.
    let encoded_ahead = 32 * 1024 + READ_BYTES;
    // A stream's queue takes one more piece of that when it is nearly full.
    let queued = SEND_BUFFER + encoded_ahead;
    let on_the_way = RECEIVE_WINDOW as usize + queued + encoded_ahead;
    assert!(on_the_way <= KEPT_ENCODED_BYTES, "{on_the_way}");
}

#[test]
fn every_bound_is_in_a_limits_rs_and_says_what_it_protects() {
    let workspace = workspace();
    let (mut strays, mut bounds) = (Vec::new(), 0);
    let is_product = |folder: &PathBuf| !NO_PRODUCT.iter().any(|name| folder.ends_with(name));
    for folder in crates().into_iter().filter(is_product) {
        for file in rust_files(&folder.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let shown = file.strip_prefix(&workspace).unwrap().display();
            let is_limits = file.ends_with("limits.rs");
            let is_test = file.ends_with("tests.rs") || file.ends_with("fuzz.rs");
            let mut before = "";
            for line in text
                .lines()
                .take_while(|line| line.trim() != "#[cfg(test)]" && !is_test)
            {
                if let Some((name, kind)) = constant(line) {
                    let is_number = ["usize", "u64", "u32", "f64"].contains(&kind);
                    let is_word = |part| WORDS.contains(&part);
                    let is_bound = kind.contains("Duration") || is_number && name.split('_').any(is_word);
                    let at = format!("{shown} {name}");
                    if is_limits {
                        bounds += 1;
                        assert!(
                            before.trim_start().starts_with("///"),
                            "{at} has no doc comment that says what it protects"
                        );
                    } else if is_bound && !DERIVED.contains(&&*at) {
                        strays.push(at);
                    }
                }
                before = line;
            }
        }
    }
    assert!(bounds > 60, "only {bounds} limits found");
    assert!(strays.is_empty(), "limits outside of limits.rs: {strays:#?}");
}
