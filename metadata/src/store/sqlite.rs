//! Metadata in an embedded SQLite database.
//!
//! [`open`] returns the one [`SqliteStore`] that writes, a [`Reader`] for any number of concurrent queries, and a
//! report: a damaged database that was set aside, processes of an earlier epoch that were lost or survived.
//! `docs/METADATA.md` documents the file for people.
//!
//! * opening: `open`, `state_directory`, `lock`, `header`, `damage`, `migrate`, `epochs`; `memory` without a directory;
//! * writing: `write`, `losses`, `columns`, `connection` (the settings and what each guarantees), `checkpoint`,
//!   `upkeep`, `failure`;
//! * reading: `reader_pool`, `read`.

mod checkpoint;
mod columns;
mod connection;
mod damage;
mod epochs;
mod error;
mod failure;
mod fault;
mod header;
mod lock;
mod losses;
mod memory;
mod migrate;
mod open;
mod read;
mod reader_pool;
mod state_directory;
mod upkeep;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use baton_proto::Epoch;
use baton_trace::record::unix_now_ns;

use self::checkpoint::Checkpointer;
use self::epochs::EpochStart;
use self::lock::DirectoryLock;
use self::open::{Database, FileId};
use self::reader_pool::ReaderPool;
use self::state_directory::StateDirectory;
use self::upkeep::UpkeepSweeps;
use self::write::RowIds;
use super::retention::Retention;
use super::{Store, UpkeepProgress, WriteError, WriteErrorKind, WriteSummary};
use crate::batch::Batch;
use crate::limits;
use crate::record::Owner;

pub use self::damage::DamagedDatabase;
pub use self::epochs::{RecoveryReport, Survivor};
pub use self::error::{LockHolder, OpenError};
pub use self::migrate::{APPLICATION_ID, MIGRATIONS, VERSION};
pub use self::read::{ReadError, Reader};
pub use self::state_directory::{DATABASE, LOCK};

/// Options of [`open`].
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The state directory; created if there is none.
    pub directory: PathBuf,
    /// The name that another exec-server reports when it finds the directory in use, such as this one's id.
    pub name: String,
    /// The server's epoch.
    pub epoch: Epoch,
    /// The retention.
    pub retention: Retention,
    /// The time, in nanoseconds since the Unix epoch.
    pub now_unix_ns: u64,
}

/// An open store.
#[derive(Debug)]
pub struct OpenedStore {
    /// The writer. Holds the directory's lock.
    pub store: SqliteStore,
    /// The reader.
    pub reader: Reader,
    /// The previous database, if it was damaged and set aside.
    pub set_aside: Option<DamagedDatabase>,
    /// Processes that an earlier epoch left running.
    pub recovered: RecoveryReport,
}

/// Opens the state directory, in the order that `open.rs` documents. Blocks for some milliseconds, and at most
/// [`OPEN_CHECK`](limits::OPEN_CHECK) beyond the time of the disk.
///
/// `kill` is called with the processes of an earlier epoch that still run and were not detached, if there are any. It
/// kills their process groups and returns. The pids are certain at this moment. If the server dies before `open`
/// returns, the next call passes the same processes.
///
/// # Errors
/// [`OpenError`]; a damaged database is not an error.
pub fn open(options: &StoreOptions, kill: &mut dyn FnMut(&[Survivor])) -> Result<OpenedStore, OpenError> {
    let state_directory = StateDirectory::prepare(&options.directory)?;
    let lock = DirectoryLock::take(&state_directory.lock(), &options.name)?;
    let (database, set_aside) = open::open(&state_directory, true)?;
    let failed = |source| OpenError::Sqlite {
        path: state_directory.database(),
        source,
    };
    let checkpointer = Checkpointer::start(state_directory.database())
        .map_err(|error| OpenError::from_io(&state_directory.database(), error))?;
    let readers = Arc::new(ReaderPool::new(state_directory.database()));
    let epoch = EpochStart {
        epoch: options.epoch,
        begun_unix_ns: options.now_unix_ns,
    };
    let Database { mut connection, file } = database;
    let recovered = epochs::recover(&mut connection, options.now_unix_ns, kill).map_err(failed)?;
    epochs::begin(&mut connection, &epoch).map_err(failed)?;
    checkpointer.watch(&mut connection).map_err(failed)?;
    let reader = Reader::new(Arc::clone(&readers));
    let store = SqliteStore {
        database: Some(Database { connection, file }),
        on_disk: Some(OnDiskState {
            state_directory,
            checkpointer,
            _lock: lock,
        }),
        epoch,
        row_ids: RowIds::default(),
        sweeps: UpkeepSweeps::new(options.retention),
        readers,
        set_aside: DamagedDatabases::default(),
        damaged_databases: 0,
    };
    Ok(OpenedStore {
        store,
        reader,
        set_aside,
        recovered,
    })
}

/// Creates a database in memory. Its content ends with the store and is never on a disk, except for pages that the
/// operating system swaps out. Without a size in `retention` it takes [`MEMORY_BYTES`](limits::MEMORY_BYTES), and never
/// more than [`MEMORY_BYTES_MAX`](limits::MEMORY_BYTES_MAX).
///
/// # Errors
/// SQLite's, if memory is exhausted.
pub fn open_in_memory(
    epoch: Epoch,
    retention: Retention,
    now_unix_ns: u64,
) -> rusqlite::Result<(SqliteStore, Reader)> {
    let name = memory::name();
    let mut connection = memory::make(&name)?;
    let epoch = EpochStart {
        epoch,
        begun_unix_ns: now_unix_ns,
    };
    epochs::begin(&mut connection, &epoch)?;
    let readers = Arc::new(ReaderPool::new(name.into()));
    let reader = Reader::new(Arc::clone(&readers));
    let bytes = retention.bytes.unwrap_or(limits::MEMORY_BYTES);
    let retention = Retention {
        bytes: Some(bytes.min(limits::MEMORY_BYTES_MAX)),
        ..retention
    };
    let store = SqliteStore {
        database: Some(Database {
            connection,
            file: None,
        }),
        on_disk: None,
        epoch,
        row_ids: RowIds::default(),
        sweeps: UpkeepSweeps::new(retention),
        readers,
        set_aside: DamagedDatabases::default(),
        damaged_databases: 0,
    };
    Ok((store, reader))
}

/// The one writer.
///
/// Dropping it closes it. A failed connection is opened again before the next attempt. A file that was damaged in use
/// is set aside then, and one that was removed or replaced is created anew, because no reader would find what is
/// written to it.
#[derive(Debug)]
pub struct SqliteStore {
    /// `None` after a failure, until the next attempt.
    database: Option<Database>,
    epoch: EpochStart,
    row_ids: RowIds,
    sweeps: UpkeepSweeps,
    readers: Arc<ReaderPool>,
    set_aside: DamagedDatabases,
    damaged_databases: u32,
    /// `None` in memory. Last, because the fields above use the files when they are dropped.
    on_disk: Option<OnDiskState>,
}

/// The directory that the database is in.
#[derive(Debug)]
struct OnDiskState {
    state_directory: StateDirectory,
    checkpointer: Checkpointer,
    // Dropped last, when no other field uses the files.
    _lock: DirectoryLock,
}

/// Databases that were set aside while the server ran, for the health report.
#[derive(Debug, Clone, Default)]
pub struct DamagedDatabases(Arc<Mutex<Vec<DamagedDatabase>>>);

impl DamagedDatabases {
    /// Those since the last call.
    pub fn take(&self) -> Vec<DamagedDatabase> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SqliteStore {
    /// The list of databases that this store sets aside.
    pub fn damaged_databases(&self) -> DamagedDatabases {
        self.set_aside.clone()
    }

    /// Bytes that the database and its log take on disk.
    pub fn bytes(&self) -> u64 {
        match (&self.on_disk, &self.database) {
            (Some(on_disk), _) => on_disk.state_directory.bytes(),
            (None, Some(database)) => upkeep::used_bytes(&database.connection).unwrap_or(0),
            (None, None) => 0,
        }
    }

    /// Runs one transaction. Opens a new connection if the last one failed, and retries once in a new file if this one
    /// is damaged.
    fn attempt<T>(
        &mut self,
        mut work: impl FnMut(&mut Database, &mut RowIds) -> rusqlite::Result<T>,
    ) -> Result<T, WriteError> {
        loop {
            let mut database = self.database()?;
            let error = match work(&mut database, &mut self.row_ids) {
                Ok(done) => {
                    self.database = Some(database);
                    return Ok(done);
                }
                Err(error) => error,
            };
            // Row ids of a transaction that was rolled back are invalid.
            self.row_ids.clear();
            let failure = failure::of_sqlite(&error);
            match failure.kind {
                // A database in memory cannot be opened again, and closing it would delete it.
                _ if self.on_disk.is_none() => self.database = Some(database),
                // The transaction was rolled back and the connection is valid. Kept, it also keeps the index of the
                // log, which readers need and could not create on such a disk.
                WriteErrorKind::Rejected
                | WriteErrorKind::Busy
                | WriteErrorKind::Full
                | WriteErrorKind::Io => {
                    self.database = Some(database);
                }
                WriteErrorKind::Corrupt if self.damaged_databases < limits::SET_ASIDE_MAX => {
                    drop(database);
                    self.replace(error.to_string())?;
                    continue;
                }
                _ => {}
            }
            return Err(failure);
        }
    }

    /// The database, opened again if it has to be.
    fn database(&mut self) -> Result<Database, WriteError> {
        let database = self.database.take();
        let Some(OnDiskState { state_directory, .. }) = &self.on_disk else {
            let gone = || WriteError::new(WriteErrorKind::Other, "the database in memory was closed");
            return database.ok_or_else(gone);
        };
        if let Some(database) = database {
            if FileId::of(state_directory) == database.file {
                return Ok(database);
            }
            // Removed or replaced: no reader would find what is written to it.
            self.row_ids.clear();
            self.readers.renew();
        }
        let (mut database, set_aside) =
            open::open(state_directory, self.damaged_databases < limits::SET_ASIDE_MAX)
                .map_err(|error| failure::of_opening(&error))?;
        if let Some(set_aside) = set_aside {
            self.notify(set_aside);
        }
        epochs::begin(&mut database.connection, &self.epoch).map_err(|error| failure::of_sqlite(&error))?;
        if let Some(on_disk) = &self.on_disk {
            let watched = on_disk.checkpointer.watch(&mut database.connection);
            watched.map_err(|error| failure::of_sqlite(&error))?;
        }
        Ok(database)
    }

    fn replace(&mut self, reason: String) -> Result<(), WriteError> {
        if let Some(on_disk) = &self.on_disk {
            let set_aside = damage::set_aside(&on_disk.state_directory, reason)
                .map_err(|error| failure::of_opening(&error))?;
            self.notify(set_aside);
        }
        Ok(())
    }

    fn notify(&mut self, set_aside: DamagedDatabase) {
        self.damaged_databases += 1;
        self.set_aside
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(set_aside);
        self.renew();
    }

    /// Handles another file at the same path.
    fn renew(&mut self) {
        self.row_ids.clear();
        self.readers.renew();
    }
}

/// Marks the epoch as ended in order, and checkpoints the log. If that fails nothing is lost: the next opening reads
/// the log.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(database) = self.database.take().filter(|_| self.on_disk.is_some()) {
            let _ = epochs::end(&database.connection, &self.epoch, unix_now_ns());
            let _ = database
                .connection
                .query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        }
    }
}

impl Store for SqliteStore {
    fn write(&mut self, batch: &Batch) -> Result<WriteSummary, WriteError> {
        let rows =
            self.attempt(|database, row_ids| write::write(&mut database.connection, row_ids, batch))?;
        // The batch is committed, so a failure of what follows is not returned.
        match (&mut self.database, &self.on_disk) {
            // If the checkpoint fails the log grows, and the next commit meets the disk.
            (Some(database), Some(on_disk)) => on_disk.checkpointer.committed(&database.connection),
            // Immediately, because upkeep runs only twice a minute, and memory is limited.
            (Some(database), None) => {
                while self.sweeps.make_room(&mut database.connection).unwrap_or(false) {}
            }
            (None, _) => {}
        }
        Ok(WriteSummary { rows })
    }

    fn losses(&mut self) -> Result<Vec<(Owner, u64)>, WriteError> {
        self.attempt(|database, _| losses::read(&database.connection))
    }

    fn note_losses(&mut self, losses: &[(Owner, u64)]) -> Result<(), WriteError> {
        self.attempt(|database, row_ids| losses::write(&mut database.connection, row_ids, losses))
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<UpkeepProgress, WriteError> {
        let mut sweeps = std::mem::take(&mut self.sweeps);
        let done = self.attempt(|database, _| sweeps.step(&mut database.connection, now_unix_ns));
        self.sweeps = sweeps;
        if let (Some(database), Some(on_disk)) = (&self.database, &self.on_disk) {
            on_disk.checkpointer.committed(&database.connection);
            if let Some(failure) = on_disk.checkpointer.failure() {
                return done.and(Err(failure));
            }
        }
        done
    }
}
