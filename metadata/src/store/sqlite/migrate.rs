//! Schema versions: one SQL file each, applied in order, each in a transaction of its own.
//!
//! A released version is never edited; the next one is a new file. `user_version` in the file's header is its version,
//! and `application_id` marks it as Baton's. `tests/store/fixtures` has a database of every released version, and a
//! test fails for one without.

use rusqlite::{Connection, TransactionBehavior};

/// The application id in SQLite's header of a database of Baton: `BATN`.
pub const APPLICATION_ID: i32 = i32::from_be_bytes(*b"BATN");

/// Every schema, in order; the first is version 1.
pub const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
];

/// The version that this code reads and writes.
pub const VERSION: i32 = MIGRATIONS.len() as i32;

/// Version of an open database: 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Migrates an open database to `VERSION`, or leaves it unchanged. One commit for all versions: on a disk whose syncs
/// take half a second, a commit for each would delay the server's start.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let done = usize::try_from(version(connection)?).unwrap_or(0);
    if done >= MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for sql in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
