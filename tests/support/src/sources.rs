//! The source files of this workspace, for tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace of this crate exists")
}

/// The folders of all crates, sorted: those at the top of the workspace and those one level below.
pub fn crates() -> Vec<PathBuf> {
    let is_crate = |folder: &PathBuf| folder.join("Cargo.toml").exists();
    let mut crates = Vec::new();
    for folder in entries(&workspace()).into_iter().filter(is_crate) {
        crates.extend(entries(&folder).into_iter().filter(is_crate));
        crates.push(folder);
    }
    crates.sort();
    crates
}

/// All Rust files below this folder, sorted by path. Empty if the folder does not exist.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
