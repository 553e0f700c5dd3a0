//! Opening, in an order in which no foreign file is changed and no damaged one stops the server.
//!
//! 1. the directory: created, or checked for other users' write permission ([`StateDirectory`]);
//! 2. the lock: one exec-server for each directory ([`DirectoryLock`](super::lock::DirectoryLock));
//! 3. the file's header: another program's database and a newer version's are refused and not changed ([`header`]);
//! 4. SQLite, which applies or drops what a crash left in the log;
//! 5. a check for damage, bounded in time; a damaged file is set aside, and 3 to 5 are repeated without a file
//!    ([`damage`]);
//! 6. migrations.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rusqlite::Connection;

use super::connection::{bounded, is_damage, writer};
use super::damage::{DamagedDatabase, set_aside, set_orphans_aside};
use super::error::OpenError;
use super::header::{DatabaseHeader, examine};
use super::migrate::migrate;
use super::state_directory::StateDirectory;
use crate::limits;

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
    /// `None` in memory.
    pub(super) file: Option<FileId>,
}

/// Identifies the file at a path, which may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// `None` if there is no file.
    pub(super) fn of(state_directory: &StateDirectory) -> Option<Self> {
        let file = fs::metadata(state_directory.database()).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
        })
    }
}

/// Steps 3 to 6. A damaged file is set aside if `may_set_aside`, and is an error otherwise.
pub(super) fn open(
    state_directory: &StateDirectory,
    may_set_aside: bool,
) -> Result<(Database, Option<DamagedDatabase>), OpenError> {
    let orphan = set_orphans_aside(state_directory)?;
    let reason = match attempt(state_directory)? {
        Ok(database) => return Ok((database, orphan)),
        Err(reason) => reason,
    };
    let damaged = |reason: String| OpenError::Io {
        path: state_directory.database(),
        source: std::io::Error::other(reason),
    };
    if !may_set_aside {
        return Err(damaged(reason));
    }
    let aside = set_aside(state_directory, reason)?;
    match attempt(state_directory)? {
        Ok(database) => Ok((database, Some(aside))),
        // A new file is damaged too, so the file is not the cause.
        Err(reason) => Err(damaged(reason)),
    }
}

/// The inner error is the damage of a file.
fn attempt(state_directory: &StateDirectory) -> Result<Result<Database, String>, OpenError> {
    if let DatabaseHeader::Damaged(reason) = examine(state_directory)? {
        return Ok(Err(reason));
    }
    state_directory.claim_database()?;
    match open_sound(state_directory) {
        Ok(Ok(connection)) => match FileId::of(state_directory) {
            Some(file) => Ok(Ok(Database {
                connection,
                file: Some(file),
            })),
            None => Ok(Err("it was removed while it was opened".to_owned())),
        },
        Ok(Err(reason)) => Ok(Err(reason)),
        Err(error) if is_damage(&error) => Ok(Err(error.to_string())),
        Err(source) => Err(OpenError::Sqlite {
            path: state_directory.database(),
            source,
        }),
    }
}

fn open_sound(state_directory: &StateDirectory) -> rusqlite::Result<Result<Connection, String>> {
    let mut connection = writer(&state_directory.database())?;
    // A small file is checked completely, a large one as far as the time allows. Later damage is found when a query or
    // commit meets it.
    let check = |connection: &Connection| {
        connection.query_row("pragma quick_check(1)", [], |row| row.get::<_, String>(0))
    };
    if let Some(found) = bounded(&mut connection, limits::OPEN_CHECK, check)?
        && found != "ok"
    {
        return Ok(Err(found));
    }
    migrate(&mut connection)?;
    Ok(Ok(connection))
}
