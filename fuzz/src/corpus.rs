//! The committed inputs: `fuzz/corpus/TARGET/`. Files named `seed-…` are written by their target's generator; the
//! others were found by the fuzzer, or once caused a failure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Target;

/// The prefix of a seed's file name.
const SEED: &str = "seed-";

/// The folder of one target.
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

/// Every committed input of a target with its file name, sorted by name.
///
/// # Panics
/// If the folder cannot be read.
pub fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("a folder's entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("a committed input"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Compares the committed seeds with the output of the generator; with `BATON_BLESS`, writes them.
///
/// # Panics
/// If they differ: an outdated seed covers nothing.
pub fn check_seeds(target: &Target) {
    let seeds: Vec<_> = (target.seeds)()
        .into_iter()
        .map(|(name, bytes)| (format!("{SEED}{name}"), bytes))
        .collect();
    let folder = folder(target);
    if std::env::var_os("BATON_BLESS").is_some() {
        fs::create_dir_all(&folder).expect("a folder for the corpus");
        for (name, _) in inputs(target).iter().filter(|(name, _)| name.starts_with(SEED)) {
            fs::remove_file(folder.join(name)).expect("an old seed");
        }
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes).expect("a new seed");
        }
    }
    let mut wanted = seeds;
    wanted.sort();
    let mut committed = inputs(target);
    committed.retain(|(name, _)| name.starts_with(SEED));
    assert!(
        committed == wanted,
        "the seeds in {} are not what their generator writes: set BATON_BLESS=1 and run this test again",
        folder.display()
    );
}
