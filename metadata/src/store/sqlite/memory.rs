//! A database in memory: `--state none`.
//!
//! The schema is the same, in SQLite's memory file system, so queries need no changes. There is no write-ahead log, so
//! a commit and a query wait for each other for a moment.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::connection;
use super::migrate::migrate;

/// A name that is unique in this process.
pub(super) fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("file:/baton-{}?vfs=memdb", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Creates the database of this name. It exists while a connection to it is open.
pub(super) fn make(name: &str) -> rusqlite::Result<Connection> {
    let mut connection = connection::memory(name)?;
    migrate(&mut connection)?;
    Ok(connection)
}
