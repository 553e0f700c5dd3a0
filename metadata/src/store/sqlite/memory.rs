//! Records that end with the server: `--state none`.
//!
//! The same schema in SQLite's own memory file system, so that a query cannot tell the difference. There is no log beside it: a
//! commit waits for a query that is being read, and a query for a commit, each for a moment.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::connection;
use super::migrate::migrate;

/// A name that leads to no other database of this process.
pub(super) fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("file:/baton-{}?vfs=memdb", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes the database of this name. It is there for as long as a connection to it is.
pub(super) fn make(name: &str) -> rusqlite::Result<Connection> {
    let mut connection = connection::memory(name)?;
    migrate(&mut connection)?;
    Ok(connection)
}
