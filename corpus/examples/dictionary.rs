//! Trains the dictionary of the corpus from made-up traces, and writes it to a file.
//!
//! ```text
//! cargo run -p baton-corpus --example dictionary -- FILE
//! ```
//!
//! The same version of zstd writes the same bytes. A trained dictionary never replaces an old one, because traces were
//! compressed with that: it is added to `dictionary::DICTIONARIES`.

use std::error::Error;

use baton_corpus::body;
use baton_corpus::samples::{Names, Samples};

/// Bytes of the dictionary: six traces. Every append loads it.
const DICTIONARY_BYTES: usize = 16 * 1024;

/// Traces that it is trained from.
const TRACES: usize = 5_000;

const NAMES: Names = Names {
    programs: &[
        "sh", "bash", "make", "cargo", "git", "python3", "node", "npm", "go", "rustc", "ls", "cat", "grep",
        "echo",
    ],
    labels: &["build", "test", "lint", "format", "deploy", "install"],
    threads: &["release-1", "review-17", "session"],
    hosts: &["laptop", "build-1", "ci"],
};

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("pass the file to write")?;
    let mut samples = Samples::new(NAMES, 1);
    let documents: Vec<Vec<u8>> = (0..TRACES)
        .map(|_| {
            let record = samples.record();
            let part = samples.part(&record);
            let mut document = Vec::new();
            body::encode(&part, &mut document);
            document
        })
        .collect();
    let bytes: usize = documents.iter().map(Vec::len).sum();
    let dictionary = zstd::dict::from_samples(&documents, DICTIONARY_BYTES)?;
    std::fs::write(&file, &dictionary)?;
    println!(
        "{file}: {} bytes, from {} bytes a trace",
        dictionary.len(),
        bytes / TRACES
    );
    Ok(())
}
