//! How many records of each owner were given up and are not acknowledged.

use rusqlite::{Connection, TransactionBehavior, params};

use super::columns::number;
use super::write::RowIds;
use crate::record::Owner;

pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<(Owner, u64)>> {
    let mut losses =
        connection.prepare("select o.key, l.records from losses l join owners o on o.owner = l.owner")?;
    let rows = losses.query_map([], |row| {
        Ok((Owner(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    rows.collect()
}

/// Replaces all rows.
pub(super) fn write(
    connection: &mut Connection,
    row_ids: &mut RowIds,
    losses: &[(Owner, u64)],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("delete from losses", [])?;
    for (owner, records) in losses {
        let owner = row_ids.owner(&transaction, *owner)?;
        let insert = "insert into losses (owner, records) values (?1, ?2)";
        transaction.execute(insert, params![owner, number(*records)])?;
    }
    transaction.commit()
}
