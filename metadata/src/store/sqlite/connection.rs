//! SQLite's settings, and what each guarantees.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::limits;

/// Opens the writer's connection. There is only one on the host, because the state directory is locked.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection)?;
    // Freed pages are returned to the file system in steps (`incremental_vacuum`), so that the file shrinks when
    // records are removed. Only effective in an empty file, so before the first write.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    // Readers see the last commit. Readers and the writer never wait for each other.
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A commit returns when the log is synced to the device, as a barrier guarantees. NORMAL would sync only at a
    // checkpoint, and a power failure would undo commits that barriers reported as durable. (kill -9 loses nothing
    // either way.)
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints run between batches, where no barrier waits for them.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A log that grew in a burst is truncated to this when it restarts.
    connection.pragma_update(None, "journal_size_limit", limits::WAL_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", -limits::WRITER_CACHE_KIB)?;
    // Threads and processes are independent rows, written in any order.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens the writer's connection to a database in memory by its name.
pub(super) fn memory(name: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags)?;
    common(&connection)?;
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    // Required to roll back a failed batch.
    connection.pragma_update(None, "journal_mode", "memory")?;
    connection.pragma_update(None, "cache_size", -limits::READER_CACHE_KIB)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a read-only connection, which sees each commit from its next statement on.
///
/// A path must be absolute, or SQLite might take it for the name of a database in memory.
pub(super) fn reader(source: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(source, flags)?;
    common(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -limits::READER_CACHE_KIB)?;
    Ok(connection)
}

fn common(connection: &Connection) -> rusqlite::Result<()> {
    keep_log(connection)?;
    // A person's `sqlite3` may hold a lock for a moment.
    connection.busy_timeout(limits::BUSY_TIMEOUT)?;
    // A damaged file must not make SQLite call functions that its schema names, nor crash on a bad cell.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Never mapped, because a device error would be a signal instead of an error code.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// Keeps the log when the connection closes. Otherwise SQLite removes the log *by its path* with the last connection,
/// and that path is the log of the new database once this one was set aside.
pub(super) fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(|_| ())
}

/// Whether the file is damaged, so that no retry helps.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Runs `work` for at most `budget`; `None` if it did not complete.
pub(super) fn bounded<T>(
    connection: &mut Connection,
    budget: Duration,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    let until = std::time::Instant::now() + budget;
    connection.progress_handler(1_000, Some(move || std::time::Instant::now() >= until))?;
    let done = work(&*connection);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
