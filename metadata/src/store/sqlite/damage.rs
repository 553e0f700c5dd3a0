//! A damaged database is set aside: it is renamed with its log, nothing is deleted, and a new one replaces it.
//!
//! The main file is renamed first. A crash in between leaves a log without its database, which [`set_orphans_aside`]
//! finds at the next opening: SQLite would otherwise use the old log for the new file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::OpenError;
use super::state_directory::StateDirectory;

/// A damaged database that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedDatabase {
    /// Its new path. Its log, if it had one, has the same name with `-wal`.
    pub path: PathBuf,
    /// The damage.
    pub reason: String,
}

impl fmt::Display for DamagedDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SQLite reports each finding on a line of its own, below a heading.
        let reason = self.reason.lines().filter(|line| !line.starts_with("***"));
        write!(
            f,
            "the database was damaged ({}) and is now {}; a new one was begun, and `sqlite3 FILE .recover` shows what \
             can be saved of the old one",
            reason.collect::<Vec<_>>().join("; "),
            self.path.display()
        )
    }
}

/// Renames the database and its log.
pub(super) fn set_aside(
    state_directory: &StateDirectory,
    reason: impl Into<String>,
) -> Result<DamagedDatabase, OpenError> {
    let kept = free_name(state_directory);
    for (from, suffix) in state_directory.files() {
        rename(&from, &with_suffix(&kept, suffix))?;
    }
    state_directory
        .sync()
        .map_err(|error| OpenError::from_io(state_directory.directory(), error))?;
    Ok(DamagedDatabase {
        path: kept,
        reason: reason.into(),
    })
}

/// Sets aside a log whose database is missing: a crash interrupted its renaming.
pub(super) fn set_orphans_aside(
    state_directory: &StateDirectory,
) -> Result<Option<DamagedDatabase>, OpenError> {
    let holds = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if holds(&state_directory.database()) || !holds(&state_directory.wal()) {
        return Ok(None);
    }
    set_aside(state_directory, "its log existed without it").map(Some)
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OpenError::from_io(from, error)),
        _ => Ok(()),
    }
}

/// `baton.db.damaged-20261121T120203Z`, with a number if that name exists.
fn free_name(state_directory: &StateDirectory) -> PathBuf {
    let base = with_suffix(&state_directory.database(), &format!(".damaged-{}", now()));
    let taken = |path: &PathBuf| {
        ["", "-wal"]
            .iter()
            .any(|suffix| with_suffix(path, suffix).exists())
    };
    let numbered = (2..).map(|number: u32| with_suffix(&base, &format!(".{number}")));
    std::iter::once(base.clone())
        .chain(numbered)
        .find(|path| !taken(path))
        .unwrap_or(base)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The UTC date, formatted by SQLite.
fn now() -> String {
    let ask =
        || Connection::open_in_memory()?.query_row("select strftime('%Y%m%dT%H%M%SZ')", [], |row| row.get(0));
    ask().unwrap_or_else(|_: rusqlite::Error| "unknown-date".to_owned())
}
