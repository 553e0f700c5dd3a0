//! Records in an embedded SQLite database.
//!
//! [`open`] gives the one [`SqliteStore`] that writes, a [`Reader`] that any number of queries use beside it, and a word on what was found:
//! a damaged database that was set aside, processes of an earlier life that were lost or had survived. `docs/METADATA.md` is for people
//! who read the file themselves.
//!
//! * opening: `open`, `place`, `lock`, `header`, `damage`, `migrate`, `lives`;
//! * writing: `write`, `columns`, `connection` (what each setting promises), `checkpoint`, `upkeep`, `failure`;
//! * reading: `readers`, `read`.

mod checkpoint;
mod columns;
mod connection;
mod damage;
mod error;
mod failure;
mod header;
mod lives;
mod lock;
mod migrate;
mod open;
mod place;
mod read;
mod readers;
mod upkeep;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use baton_proto::Epoch;
use baton_trace::record::unix_now_ns;

use self::checkpoint::Checkpointer;
use self::lives::Life;
use self::lock::Lock;
use self::open::{Database, FileId};
use self::place::Place;
use self::readers::Readers;
use self::upkeep::Steps;
use self::write::Names;
use super::retention::Retention;
use super::{Store, Upkeep, WriteError, WriteErrorKind, Written};
use crate::batch::Batch;
use crate::limits;

pub use self::damage::SetAside;
pub use self::error::{Holder, OpenError};
pub use self::lives::{Recovered, Survivor};
pub use self::migrate::{APPLICATION_ID, MIGRATIONS, VERSION};
pub use self::place::{DATABASE, LOCK};
pub use self::read::{ReadError, Reader};

/// Where the state is, and whose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory; made if there is none.
    pub directory: PathBuf,
    /// What the next one is told that finds the directory in use, such as the exec-server's id.
    pub name: String,
    /// This life of the server.
    pub epoch: Epoch,
    /// What is kept.
    pub retention: Retention,
    /// The time, in nanoseconds since the Unix epoch.
    pub now_unix_ns: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// Writes. Holds the directory's lock.
    pub store: SqliteStore,
    /// Reads.
    pub reader: Reader,
    /// The database that was there was damaged, and is elsewhere now.
    pub set_aside: Option<SetAside>,
    /// What an earlier life had left.
    pub recovered: Recovered,
}

/// Opens the state directory: see `open.rs` for the order of things. Blocks, for some milliseconds and at most
/// [`OPEN_CHECK`](limits::OPEN_CHECK) beyond what the disk takes.
///
/// `kill` is called for each process of an earlier life that still runs and was not detached; it ends the process group and returns.
/// The pid is certain at this moment. If the server dies before `open` returns, the next one is handed the same.
///
/// # Errors
/// [`OpenError`]; a damaged database is no error.
pub fn open(options: &Options, kill: &mut dyn FnMut(&Survivor)) -> Result<Opened, OpenError> {
    let place = Place::prepare(&options.directory)?;
    let lock = Lock::take(&place.lock(), &options.name)?;
    let (database, set_aside) = open::open(&place, true)?;
    let failed = |source| OpenError::Sqlite {
        path: place.database(),
        source,
    };
    let checkpointer = Checkpointer::start(place.database())
        .map_err(|error| OpenError::from_io(&place.database(), error))?;
    let readers = Arc::new(Readers::new(place.database()));
    let life = Life {
        epoch: options.epoch,
        begun_unix_ns: options.now_unix_ns,
    };
    let Database { mut connection, file } = database;
    let recovered = lives::recover(&mut connection, options.now_unix_ns, kill).map_err(failed)?;
    lives::begin(&mut connection, &life).map_err(failed)?;
    checkpointer.watch(&mut connection).map_err(failed)?;
    let reader = Reader::new(Arc::clone(&readers));
    let store = SqliteStore {
        database: Some(Database { connection, file }),
        place,
        life,
        names: Names::default(),
        steps: Steps::new(options.retention),
        checkpointer,
        readers,
        set_aside: SetAsides::default(),
        set_asides: 0,
        _lock: lock,
    };
    Ok(Opened {
        store,
        reader,
        set_aside,
        recovered,
    })
}

/// The one writer.
///
/// Dropping it closes it. It survives its database: a connection that failed is made anew before the next attempt, and a file that was damaged while it was in use is
/// set aside then. So is one that was removed or replaced: what is written to a file that nobody can find is not kept.
#[derive(Debug)]
pub struct SqliteStore {
    /// `None` after a failure, until the next attempt.
    database: Option<Database>,
    place: Place,
    life: Life,
    names: Names,
    steps: Steps,
    checkpointer: Checkpointer,
    readers: Arc<Readers>,
    set_aside: SetAsides,
    set_asides: u32,
    // Last: what is above still works on the files when it is dropped.
    _lock: Lock,
}

/// Databases that were set aside while the server ran, for whoever reports it.
#[derive(Debug, Clone, Default)]
pub struct SetAsides(Arc<Mutex<Vec<SetAside>>>);

impl SetAsides {
    /// Those since the last call.
    pub fn take(&self) -> Vec<SetAside> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SqliteStore {
    /// Where it tells that it has set a database aside.
    pub fn set_asides(&self) -> SetAsides {
        self.set_aside.clone()
    }

    /// Bytes that the database and its log take on disk.
    pub fn bytes(&self) -> u64 {
        self.place.bytes()
    }

    /// Runs one transaction, on a new connection where the last one failed, and once more in a new file where this one is damaged.
    fn attempt<T>(
        &mut self,
        mut work: impl FnMut(&mut Database, &mut Names) -> rusqlite::Result<T>,
    ) -> Result<T, WriteError> {
        loop {
            let mut database = self.database()?;
            let error = match work(&mut database, &mut self.names) {
                Ok(done) => {
                    self.database = Some(database);
                    return Ok(done);
                }
                Err(error) => error,
            };
            // Numbers that were given in a transaction that was taken back mean nothing.
            self.names.clear();
            let failure = failure::of_sqlite(&error);
            match failure.kind {
                // The transaction was taken back and the connection is as good as before: SQLite is made for disks that fail. Kept, it also
                // keeps the index of the log, which readers need and could not make anew on such a disk.
                WriteErrorKind::Rejected
                | WriteErrorKind::Busy
                | WriteErrorKind::Full
                | WriteErrorKind::Io => {
                    self.database = Some(database);
                }
                WriteErrorKind::Corrupt if self.set_asides < limits::SET_ASIDE_MAX => {
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
        match self.database.take() {
            // Removed or replaced: nobody would ever find what is written to it.
            Some(database) if FileId::of(&self.place) != Some(database.file) => self.renew(),
            Some(database) => return Ok(database),
            None => {}
        }
        let (mut database, set_aside) = open::open(&self.place, self.set_asides < limits::SET_ASIDE_MAX)
            .map_err(|error| failure::of_opening(&error))?;
        if let Some(set_aside) = set_aside {
            self.tell(set_aside);
        }
        lives::begin(&mut database.connection, &self.life).map_err(|error| failure::of_sqlite(&error))?;
        self.checkpointer
            .watch(&mut database.connection)
            .map_err(|error| failure::of_sqlite(&error))?;
        Ok(database)
    }

    fn replace(&mut self, reason: String) -> Result<(), WriteError> {
        let set_aside =
            damage::set_aside(&self.place, reason).map_err(|error| failure::of_opening(&error))?;
        self.tell(set_aside);
        Ok(())
    }

    fn tell(&mut self, set_aside: SetAside) {
        self.set_asides += 1;
        self.set_aside
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(set_aside);
        self.renew();
    }

    /// Another file is at the same path.
    fn renew(&mut self) {
        self.names.clear();
        self.readers.renew();
    }
}

/// Says that this life has ended as it should, and moves the log into the database. If that fails nothing is lost: the next opening reads
/// the log.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            let _ = lives::end(&database.connection, &self.life, unix_now_ns());
            let _ = database
                .connection
                .query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        }
    }
}

impl Store for SqliteStore {
    fn write(&mut self, batch: &Batch) -> Result<Written, WriteError> {
        let rows = self.attempt(|database, names| write::write(&mut database.connection, names, batch))?;
        if let Some(database) = &self.database {
            // The batch is committed: what the log costs is no reason to say that it is not. It grows, and the next commit meets the disk.
            let _ = self.checkpointer.committed(&database.connection);
        }
        Ok(Written { rows })
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<Upkeep, WriteError> {
        let mut steps = std::mem::take(&mut self.steps);
        let done = self.attempt(|database, _| steps.step(&mut database.connection, now_unix_ns));
        self.steps = steps;
        if let Some(database) = &self.database {
            let _ = self.checkpointer.committed(&database.connection);
        }
        done
    }
}
