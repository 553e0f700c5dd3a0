//! Reads a database file's header without changing the file or its log.

use std::fs::{self, File};
use std::io::Read;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::connection::{is_damage, keep_log};
use super::error::OpenError;
use super::migrate::{APPLICATION_ID, VERSION};
use super::state_directory::StateDirectory;

/// The kind of file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DatabaseHeader {
    /// An empty file, or none.
    Empty,
    /// A database that this version can open.
    Ours,
    /// Not a database, or a damaged one.
    Damaged(String),
}

/// SQLite's file header, as the file format documents it.
const BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// Examines the file before SQLite may write to it.
///
/// # Errors
/// [`OpenError::Newer`] and [`OpenError::Foreign`]: the file must not be changed.
pub(super) fn examine(state_directory: &StateDirectory) -> Result<DatabaseHeader, OpenError> {
    let path = state_directory.database();
    let mut bytes = Vec::with_capacity(BYTES);
    match File::open(&path) {
        Ok(file) => file.take(BYTES as u64).read_to_end(&mut bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DatabaseHeader::Empty),
        Err(error) => Err(error),
    }
    .map_err(|error| OpenError::from_io(&path, error))?;
    if bytes.is_empty() {
        return Ok(DatabaseHeader::Empty);
    }
    if bytes.len() < BYTES || !bytes.starts_with(MAGIC) {
        return Ok(DatabaseHeader::Damaged(
            "it does not begin with SQLite's file header".to_owned(),
        ));
    }
    let number = |at: usize| i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    judge(
        state_directory,
        number(APPLICATION_ID_AT),
        number(USER_VERSION_AT),
        true,
    )?;
    // The log may hold a later first page, if a newer version died right after its migration.
    let has_log = fs::metadata(state_directory.wal()).is_ok_and(|file| file.len() > 0);
    if !has_log && number(APPLICATION_ID_AT) == APPLICATION_ID {
        return Ok(DatabaseHeader::Ours);
    }
    let had_index = state_directory.shm().exists();
    let mut looked = look_through_log(state_directory);
    if looked.as_ref().is_err_and(is_half_made) {
        // A server died while it created the database, before there was a log. Its transaction is rolled back, as
        // SQLite does for the next reader, and the database is empty again.
        looked = roll_back(state_directory).and_then(|()| look_through_log(state_directory));
    }
    if !had_index {
        let _ = fs::remove_file(state_directory.shm());
    }
    match looked {
        Ok((application_id, version, empty)) => {
            judge(state_directory, application_id, version, empty).map(|()| DatabaseHeader::Ours)
        }
        Err(error) if is_damage(&error) => Ok(DatabaseHeader::Damaged(error.to_string())),
        Err(source) => Err(OpenError::Sqlite { path, source }),
    }
}

fn judge(
    state_directory: &StateDirectory,
    application_id: i32,
    version: i32,
    empty: bool,
) -> Result<(), OpenError> {
    let path = state_directory.database();
    match application_id {
        APPLICATION_ID if version > VERSION => Err(OpenError::Newer {
            path,
            found: version,
            known: VERSION,
        }),
        APPLICATION_ID => Ok(()),
        // Baton's too, if a server died between creating and filling it.
        0 if empty => Ok(()),
        _ => Err(OpenError::Foreign { path, application_id }),
    }
}

/// Whether an unfinished transaction without a log exists, which a read-only connection cannot roll back.
fn is_half_made(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn roll_back(state_directory: &StateDirectory) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(state_directory.database(), flags)?;
    keep_log(&connection)?;
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
}

/// Application id, version, and whether there is no table, as read through the log.
fn look_through_log(state_directory: &StateDirectory) -> rusqlite::Result<(i32, i32, bool)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(state_directory.database(), flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    let tables: i64 = connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
    Ok((number("application_id")?, number("user_version")?, tables == 0))
}
