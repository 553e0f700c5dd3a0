//! The claims of docs/SECURITY.md, each with its test: a page that names a test which is gone promises what nobody checks.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_claim_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for part in [
        "channel",
        "cli",
        "core-client",
        "exec-server",
        "meta",
        "proto",
        "relay",
        "tests",
        "trace",
    ] {
        sources(&root.join(part), &mut files);
    }
    let mut functions = HashSet::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let after = line.split_once("fn ").map(|(_, after)| after.to_owned());
            functions.extend(after.and_then(|after| Some(after.split_once('(')?.0.to_owned())));
        }
    }
    let page = std::fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    // A test's name is a sentence of at least four words.
    let named: Vec<_> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            code.matches('_').count() >= 3
                && code
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(named.len() > 40, "{} claims found", named.len());
    let missing: Vec<_> = named
        .into_iter()
        .filter(|name| !functions.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
