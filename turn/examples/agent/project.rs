//! The project that the tools look at: a directory with notes, two levels below its root.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Result;

/// Removed when dropped.
pub(crate) struct Project {
    _root: TempDir,
    directory: PathBuf,
}

impl Project {
    pub(crate) fn create() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("agent-").tempdir()?;
        let directory = root.path().join("crates/parser");
        fs::create_dir_all(&directory)?;
        fs::write(root.path().join("Cargo.toml"), "[workspace]\n")?;
        fs::write(
            root.path().join("CHANGELOG.md"),
            "# Changelog\n\n- Parse numbers.\n- Parse dates.\n",
        )?;
        fs::write(directory.join("notes.txt"), "Time zones are missing.\n")?;
        fs::write(directory.join("parser.rs"), "pub fn parse() {}\n")?;
        Ok(Self {
            _root: root,
            directory,
        })
    }

    /// Where the agent works.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}
