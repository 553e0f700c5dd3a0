//! Checkpoints: moving the content of the log into the database file, concurrently with the writer.
//!
//! A thread of its own runs them, because each syncs the device twice or more and no barrier may wait for that. The log
//! can restart only when all of it was moved, and under load the writer always adds to it. So when the log is large the
//! writer moves the small rest itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use baton_trace::background;
use rusqlite::{Connection, OpenFlags};

use super::connection::keep_log;
use super::failure;
use crate::limits;
use crate::store::WriteError;

/// The checkpoint thread. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Pages in the log, as of the last commit.
    pages: Arc<AtomicU32>,
    busy: Arc<AtomicBool>,
    /// Why the last checkpoint failed, unless a later one succeeded.
    failure: Arc<Mutex<Option<WriteError>>>,
}

impl Checkpointer {
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (wake, woken) = sync_channel::<()>(1);
        let busy = Arc::new(AtomicBool::new(false));
        let is_busy = Arc::clone(&busy);
        let failure = Arc::new(Mutex::new(None));
        let failed = Arc::clone(&failure);
        let work = move || {
            background::lower_priority();
            while woken.recv().is_ok() {
                is_busy.store(true, Ordering::Release);
                // After a failure the log stays, and the next upkeep reports the error.
                note(&failed, checkpoint_beside(&path));
                is_busy.store(false, Ordering::Release);
            }
        };
        Ok(Self {
            wake: Some(wake),
            thread: Some(
                thread::Builder::new()
                    .name("baton-checkpoint".to_owned())
                    .spawn(work)?,
            ),
            pages: Arc::default(),
            busy,
            failure,
        })
    }

    /// Starts counting the pages of the log.
    pub(super) fn watch(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.pages);
        pages.store(0, Ordering::Release);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
            pages.store(count.unsigned_abs(), Ordering::Release);
            Ok(())
        }))
    }

    /// Called after a commit: requests a checkpoint if the log is large.
    pub(super) fn committed(&self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Acquire);
        if pages >= limits::WAL_PAGES && !self.busy.load(Ordering::Acquire) {
            note(&self.failure, passive(connection));
            return;
        }
        if pages >= limits::CHECKPOINT_PAGES
            && let Some(wake) = &self.wake
        {
            // If the channel is full, a checkpoint is requested already.
            let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) = wake.try_send(());
        }
    }

    /// Why the last checkpoint failed, if it did.
    pub(super) fn failure(&self) -> Option<WriteError> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        // A checkpoint on a stalled disk may take long, and nothing waits for it.
        if !self.busy.load(Ordering::Acquire)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn note(failure: &Mutex<Option<WriteError>>, result: rusqlite::Result<()>) {
    let failed = result.err().map(|error| failure::of_sqlite(&error));
    *failure.lock().unwrap_or_else(PoisonError::into_inner) = failed;
}

fn checkpoint_beside(path: &PathBuf) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_log(&connection)?;
    passive(&connection)
}

/// Moves the pages that can be moved without waiting.
fn passive(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
}
