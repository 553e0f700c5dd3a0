//! The records of an exec-server, read from its database.

use std::path::Path;

use crate::Failure;

/// The number of process records in this directory of state. Only records that the exec-server has flushed count.
///
/// # Errors
/// The database cannot be read, or two records have the same process id.
pub fn count(state: &Path) -> Result<usize, Failure> {
    let database = rusqlite::Connection::open(state.join("baton.db"))?;
    let [records, ids] = ["count(*)", "count(distinct id)"].map(|what| {
        database.query_row(&format!("select {what} from processes"), [], |row| {
            row.get::<_, i64>(0)
        })
    });
    match (records?, ids?) {
        (records, ids) if records == ids => Ok(usize::try_from(records)?),
        (records, ids) => Err(format!("{records} records of {ids} processes").into()),
    }
}
