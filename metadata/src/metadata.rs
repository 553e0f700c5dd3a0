//! Everything that an exec-server needs to store metadata: opens the state, supplies observer, gate and service, and
//! writes the queue at shutdown.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use baton_exec_server::records::Records;
use baton_proto::Epoch;
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use baton_trace::text::{counted, printable};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::facts::Facts;
use crate::gate::DurableStartGate;
use crate::handle::WriterHandle;
use crate::limits::{STALLED, SURVIVOR_GRACE};
use crate::observer::MetadataObserver;
use crate::scheduler::WriterStats;
use crate::service::MetadataService;
use crate::store::retention::Retention;
use crate::store::sqlite::{
    self, DamagedDatabase, DamagedDatabases, OpenError, OpenedStore, Reader, RecoveryReport, SqliteStore,
    StoreOptions, Survivor,
};
use crate::store::{WriteError, WriteErrorKind, boot};
use crate::writer::{self, ShutdownReport, Writer};

/// When a start counts as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Soon after it was accepted; nothing waits for it.
    #[default]
    Async,
    /// Before its process is created, which waits for that.
    Start,
}

/// Metadata could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The state directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite could not create a database in memory; its message.
    #[error("cannot store metadata in memory: {0}")]
    Memory(String),
    /// The operating system could not start a thread.
    #[error("cannot start the metadata writer: {0}")]
    Thread(#[source] io::Error),
}

/// Findings of the opening, for the owner.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// A damaged database was set aside.
    pub set_aside: Option<DamagedDatabase>,
    /// Processes that an earlier epoch left running.
    pub recovered: RecoveryReport,
}

/// The metadata of one exec-server.
#[derive(Debug)]
pub struct Metadata {
    handle: WriterHandle,
    writer: Writer,
    reader: Reader,
    facts: Arc<Facts>,
    damaged_databases: DamagedDatabases,
    epoch: Epoch,
    is_in_memory: bool,
}

impl Metadata {
    /// Opens the state, kills the processes that an earlier epoch left running (unless they were detached), and starts
    /// the writer. Blocks for milliseconds, and up to [`SURVIVOR_GRACE`] if any number of processes must be killed.
    ///
    /// # Errors
    /// [`MetadataError`], which says what to do. A damaged database is not an error: see [`OpenReport`].
    pub fn open(options: &StoreOptions, recorder: Recorder) -> Result<(Self, OpenReport), MetadataError> {
        let OpenedStore {
            store,
            reader,
            set_aside,
            recovered,
        } = sqlite::open(options, &mut kill)?;
        let metadata = Self::over(store, reader, options.epoch, recorder)?;
        Ok((metadata, OpenReport { set_aside, recovered }))
    }

    /// Stores metadata in memory, for the lifetime of this value: see [`sqlite::open_in_memory`]. It records no spans,
    /// because nothing waits for a disk.
    ///
    /// # Errors
    /// [`MetadataError::Memory`], [`MetadataError::Thread`].
    pub fn in_memory(epoch: Epoch, retention: Retention) -> Result<Self, MetadataError> {
        let opened = sqlite::open_in_memory(epoch, retention, unix_now_ns());
        let (store, reader) = opened.map_err(|error| MetadataError::Memory(error.to_string()))?;
        Ok(Self {
            is_in_memory: true,
            ..Self::over(store, reader, epoch, Recorder::off())?
        })
    }

    fn over(
        store: SqliteStore,
        reader: Reader,
        epoch: Epoch,
        recorder: Recorder,
    ) -> Result<Self, MetadataError> {
        let damaged_databases = store.damaged_databases();
        let (handle, writer) = writer::start(Box::new(store), recorder).map_err(MetadataError::Thread)?;
        let found = handle.clone();
        // Where the queue is full or stopped, the thread's next command looks the facts up again.
        let facts = Facts::new(Arc::new(move |patch| found.accept(patch).is_ok()));
        Ok(Self {
            handle,
            writer,
            reader,
            facts: Arc::new(facts),
            damaged_databases,
            epoch,
            is_in_memory: false,
        })
    }

    /// The observer and the gate for the exec-server.
    pub fn records(&self, durability: Durability) -> Records {
        let boot_id = boot::boot_id().unwrap_or_default();
        let observer =
            MetadataObserver::new(self.handle.clone(), Arc::clone(&self.facts), self.epoch, boot_id);
        let gate = DurableStartGate::new(self.handle.clone(), self.reader.clone());
        Records {
            observer: Some(Arc::new(observer)),
            gate: match durability {
                Durability::Async => None,
                Durability::Start => Some(Arc::new(gate)),
            },
        }
    }

    /// The service that sends clients their records.
    pub fn service(&self) -> MetadataService {
        let facts = Arc::clone(&self.facts);
        MetadataService::new(self.handle.clone(), self.reader.clone(), facts, self.is_in_memory)
    }

    /// The health reports for the owner.
    pub fn health(&self) -> Health {
        Health {
            handle: self.handle.clone(),
            facts: Arc::clone(&self.facts),
            damaged_databases: self.damaged_databases.clone(),
            last: WriterStats::default(),
            writing: None,
            upkeep: None,
            are_facts_held_up: false,
        }
    }

    /// Makes the queue due at once, for a client that has disconnected.
    pub fn hurry(&self) -> impl Fn() + Send + Sync + 'static {
        let handle = self.handle.clone();
        move || handle.hurry()
    }

    /// Writes the queue, in at most `limit`. Must be called when no process is left.
    pub async fn shutdown(self, limit: Duration) -> ShutdownReport {
        self.writer.shutdown(limit).await
    }
}

/// Kills the groups of processes that outlived their server, with SIGTERM, then SIGKILL, and waits for all of them
/// together.
fn kill(survivors: &[Survivor]) {
    let is_running = |survivor: &&Survivor| boot::is_running(survivor.os_pid, survivor.start_ticks);
    let group = |survivor: &Survivor| Pid::from_raw(i32::try_from(survivor.os_pid).ok()?);
    let groups: Vec<_> = survivors.iter().filter(is_running).filter_map(group).collect();
    // One may have just ended. Its number stays allocated while its group has members, and is not reused so soon.
    let signal = |signal| {
        for group in &groups {
            let _ = kill_process_group(*group, signal);
        }
    };
    signal(Signal::TERM);
    let deadline = Instant::now() + SURVIVOR_GRACE;
    while Instant::now() < deadline && survivors.iter().any(|survivor| is_running(&survivor)) {
        thread::sleep(SURVIVOR_GRACE / 20);
    }
    signal(Signal::KILL);
}

/// Reports to the owner when the disk begins to fail, when it recovers, and what was given up, so that no loss is
/// silent.
#[derive(Debug)]
pub struct Health {
    handle: WriterHandle,
    facts: Arc<Facts>,
    damaged_databases: DamagedDatabases,
    last: WriterStats,
    writing: Option<WriteFailure>,
    upkeep: Option<WriteErrorKind>,
    are_facts_held_up: bool,
}

/// Why nothing can be written at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteFailure {
    Fails(WriteErrorKind),
    Stalls,
}

/// A change that the owner must know of.
#[derive(Debug)]
pub enum HealthEvent {
    /// Writing fails, or the disk does not answer. Reported again when the cause changes.
    Failing {
        /// Queued records.
        waiting: usize,
        /// The cause; `None` if the disk does not answer.
        cause: Option<WriteError>,
    },
    /// Writing succeeds again.
    Recovered,
    /// Old records cannot be removed, or the log not checkpointed. Reported again when the cause changes.
    UpkeepFailing(WriteError),
    /// Upkeep succeeds again.
    UpkeepRecovered,
    /// Repositories are not looked up any more, because too many file systems do not answer.
    FactsHeldUp {
        /// The directory that has hung for longest.
        directory: PathBuf,
    },
    /// Repositories are looked up again.
    FactsRecovered,
    /// Records were given up.
    Dropped {
        /// How many since the last report.
        count: u64,
    },
    /// A database was damaged while it was in use, and was set aside.
    DamagedDatabase(DamagedDatabase),
}

impl fmt::Display for HealthEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { waiting, cause } => {
                write!(
                    f,
                    "records cannot be written at the moment, {}, and commands run on: ",
                    counted(*waiting as u64, "waits", "wait")
                )?;
                match cause {
                    Some(cause) => cause.fmt(f),
                    None => write!(f, "the disk does not answer"),
                }
            }
            Self::Recovered => write!(f, "records are written again"),
            Self::UpkeepFailing(cause) => write!(
                f,
                "old records cannot be removed or the database's log not be moved, so it grows, and this is tried again: {cause}"
            ),
            Self::UpkeepRecovered => write!(f, "the database is kept within its bounds again"),
            Self::FactsHeldUp { directory } => write!(
                f,
                "repositories of threads are not looked for at the moment, because file systems do not answer; commands run on. Look after the one \
                 under {}",
                printable(&directory.to_string_lossy())
            ),
            Self::FactsRecovered => write!(f, "repositories of threads are looked for again"),
            Self::Dropped { count } => write!(
                f,
                "{} given up, because nothing could be written for too long",
                counted(*count, "record was", "records were")
            ),
            Self::DamagedDatabase(set_aside) => set_aside.fmt(f),
        }
    }
}

impl Health {
    /// The changes since the last call.
    pub fn look(&mut self) -> Vec<HealthEvent> {
        let stats = self.handle.stats();
        let mut events: Vec<_> = self
            .damaged_databases
            .take()
            .into_iter()
            .map(HealthEvent::DamagedDatabase)
            .collect();
        events.extend(of_writing(&mut self.writing, &stats, self.handle.failing()));
        events.extend(of_upkeep(&mut self.upkeep, self.handle.upkeep_failing()));
        events.extend(of_facts(&mut self.are_facts_held_up, self.facts.held_up()));
        if stats.dropped > self.last.dropped {
            events.push(HealthEvent::Dropped {
                count: stats.dropped - self.last.dropped,
            });
        }
        self.last = stats;
        events
    }
}

/// Reports once when writing begins to fail or to stall, once for each other cause, and once when it recovers.
fn of_writing(
    reported: &mut Option<WriteFailure>,
    stats: &WriterStats,
    failing: Option<WriteError>,
) -> Option<HealthEvent> {
    let stalls = || (stats.writing_for > STALLED).then_some(WriteFailure::Stalls);
    let failure = failing
        .as_ref()
        .map(|error| WriteFailure::Fails(error.kind))
        .or_else(stalls);
    let is_news = *reported != failure;
    *reported = failure;
    is_news.then(|| match failure {
        None => HealthEvent::Recovered,
        Some(_) => HealthEvent::Failing {
            waiting: stats.waiting + stats.writing,
            cause: failing,
        },
    })
}

/// Reports once when upkeep begins to fail, once for each other cause, and once when it recovers.
fn of_upkeep(reported: &mut Option<WriteErrorKind>, failing: Option<WriteError>) -> Option<HealthEvent> {
    let kind = failing.as_ref().map(|error| error.kind);
    let is_news = *reported != kind;
    *reported = kind;
    is_news.then(|| failing.map_or(HealthEvent::UpkeepRecovered, HealthEvent::UpkeepFailing))
}

/// Reports once when all finder threads hang, and once when they do not any more.
fn of_facts(reported: &mut bool, held_up: Option<PathBuf>) -> Option<HealthEvent> {
    let is_news = *reported != held_up.is_some();
    *reported = held_up.is_some();
    is_news.then(|| {
        held_up.map_or(HealthEvent::FactsRecovered, |directory| {
            HealthEvent::FactsHeldUp { directory }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_or_stalls_is_told_once_for_each_cause_with_what_helps() {
        let mut reported = None;
        let mut look = |kind: Option<WriteErrorKind>, writing_for: u64| {
            let stats = WriterStats {
                waiting: 3,
                writing: 1,
                writing_for: Duration::from_secs(writing_for),
                ..WriterStats::default()
            };
            let failing = kind.map(|kind| WriteError::new(kind, "in its words"));
            of_writing(&mut reported, &stats, failing).map(|event| event.to_string())
        };
        assert_eq!(look(None, 0), None);
        let stalls = look(None, 3).unwrap();
        assert!(
            stalls.contains("4 wait") && stalls.ends_with("does not answer"),
            "{stalls}"
        );
        assert_eq!(look(None, 8), None);
        let full = look(Some(WriteErrorKind::Full), 0).unwrap();
        assert!(
            full.contains("free some") && full.ends_with("in its words"),
            "{full}"
        );
        assert_eq!(
            look(Some(WriteErrorKind::Full), 3),
            None,
            "a try that takes long is no other cause"
        );
        assert!(look(None, 0).unwrap().contains("written again"));
        assert_eq!(look(None, 1), None);
    }

    #[test]
    fn file_systems_that_do_not_answer_are_told_once_and_steer_no_terminal() {
        let mut reported = false;
        let mut look = |held_up: Option<&str>| {
            let event = of_facts(&mut reported, held_up.map(PathBuf::from));
            event.map(|event| event.to_string())
        };
        assert_eq!(look(None), None);
        let held_up = look(Some("/net/\u{1b}[2Jx")).unwrap();
        assert!(held_up.ends_with("under /net/[2Jx"), "{held_up}");
        assert_eq!(look(Some("/net/y")), None);
        assert!(look(None).unwrap().contains("again"));
        assert_eq!(look(None), None);
    }

    #[test]
    fn an_upkeep_that_fails_is_told_once_for_each_cause() {
        let mut reported = None;
        let mut look = |kind: Option<WriteErrorKind>| {
            let event = of_upkeep(
                &mut reported,
                kind.map(|kind| WriteError::new(kind, "at some offset")),
            );
            event.map(|event| event.to_string())
        };
        assert_eq!(look(None), None);
        let io = look(Some(WriteErrorKind::Io)).unwrap();
        assert!(io.contains("check the disk: at some offset"), "{io}");
        assert_eq!(look(Some(WriteErrorKind::Io)), None);
        assert!(
            look(Some(WriteErrorKind::Full))
                .unwrap()
                .contains("no space left")
        );
        assert!(look(None).unwrap().contains("again"));
        assert_eq!(look(None), None);
    }
}
