//! Read-only connections, so that queries and the writer do not wait for each other.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::connection;
use crate::limits;

/// A few open connections, created when first needed.
#[derive(Debug)]
pub(super) struct ReaderPool {
    /// A path, or the name of a database in memory.
    path: PathBuf,
    idle: Mutex<IdleConnections>,
}

#[derive(Debug, Default)]
struct IdleConnections {
    /// Counts replaced databases: a connection to an earlier one reads a file that was renamed.
    database: u64,
    connections: Vec<Connection>,
}

impl ReaderPool {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
        }
    }

    /// Runs a query on a connection of its own. Blocks for as long as the query takes.
    pub(super) fn with<T, E: From<rusqlite::Error>>(
        &self,
        query: impl FnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let (database, idle) = {
            let mut idle = self.idle();
            (idle.database, idle.connections.pop())
        };
        let mut connection = match idle {
            Some(connection) => connection,
            None => connection::reader(&self.path)?,
        };
        // A connection that failed is not reused.
        let answer = query(&mut connection)?;
        let mut idle = self.idle();
        if idle.database == database && idle.connections.len() < limits::IDLE_READERS {
            idle.connections.push(connection);
        }
        Ok(answer)
    }

    /// Closes the idle connections after the database was replaced.
    pub(super) fn renew(&self) {
        let mut idle = self.idle();
        idle.database += 1;
        idle.connections.clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
