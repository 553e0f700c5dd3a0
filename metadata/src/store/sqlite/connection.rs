//! How SQLite is set up, and what each setting promises.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::limits;

/// Opens the writer's connection. There is one in the machine: the state directory's lock sees to that.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection)?;
    // Freed pages are given back step by step (`incremental_vacuum`), so that the file shrinks when records are removed. Only
    // takes effect in a file that is still empty, so before anything that writes to it.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    // Readers see the last commit and never wait for the writer, nor it for them.
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A commit returns when the log has been synced to the device: that is what a barrier promises. NORMAL would sync only at a
    // checkpoint, and a loss of power would take back what barriers had promised since. (kill -9 loses nothing either way.)
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints are taken between batches, where no barrier waits for them.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A log that grew in a burst is cut to this when it is begun anew.
    connection.pragma_update(None, "journal_size_limit", limits::WAL_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", -limits::WRITER_CACHE_KIB)?;
    // Threads and processes do not depend on each other, and are written in any order.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens the writer's connection to a database in memory, by its name.
pub(super) fn memory(name: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags)?;
    common(&connection)?;
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    // So that a batch that fails is taken back.
    connection.pragma_update(None, "journal_mode", "memory")?;
    connection.pragma_update(None, "cache_size", -limits::READER_CACHE_KIB)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a reader's connection: it can change nothing, and sees each commit from its next statement on.
///
/// A path has to be absolute, or it might be taken for the name of a database in memory.
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
    // For a person with `sqlite3` in the same file, whose statement may hold a lock for a moment.
    connection.busy_timeout(limits::BUSY_TIMEOUT)?;
    // A damaged file must not make SQLite call functions that its schema names, nor crash on a bad cell.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Never mapped: a device error would be a signal then, not an error code.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// Closing the last connection would remove the log *by its path*. Where the database was set aside meanwhile, that is the log of the new one.
pub(super) fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(|_| ())
}

/// Whether the file itself is at fault: no retry will make it better.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Runs `work` for at most `budget`; `None` if that was not enough.
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
