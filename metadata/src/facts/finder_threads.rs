//! The threads that wait for the file system, so that no other thread does: usually one, started at the first request.
//!
//! A lookup in a file system that hangs cannot be cancelled, so its thread is blocked until the file system answers.
//! After a while another thread replaces it, up to a bound. Threads that return take requests again. When all hang, no
//! facts are looked up until one returns, and the owner is notified.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use baton_trace::background;
use nix::sys::signal::SigSet;

use super::FactsRequest;
use crate::limits::{FACTS_FINDERS, FACTS_QUEUE, FACTS_TIMEOUT};

type HandleRequest = Arc<dyn Fn(FactsRequest) + Send + Sync>;

/// See the [module](self). The threads end with it.
pub(super) struct FinderThreads {
    requests: SyncSender<FactsRequest>,
    taken: Arc<Mutex<Receiver<FactsRequest>>>,
    work: HandleRequest,
    /// For each thread, when its request began; `None` if it is idle.
    busy: Arc<Mutex<Vec<Option<Instant>>>>,
}

impl FinderThreads {
    /// Starts the first thread, which calls `work` for each request.
    pub(super) fn begin(work: HandleRequest) -> Self {
        let (requests, taken) = sync_channel(FACTS_QUEUE);
        let finders = Self {
            requests,
            taken: Arc::new(Mutex::new(taken)),
            work,
            busy: Arc::default(),
        };
        finders.add(&mut finders.busy());
        finders
    }

    /// Sends a request, and starts another thread if all hang.
    pub(super) fn send(&self, request: FactsRequest, now: Instant) {
        // The channel is full: the thread's next command makes the request again.
        let _ = self.requests.try_send(request);
        let mut busy = self.busy();
        if busy.len() < FACTS_FINDERS && all_hang(&busy, now) {
            self.add(&mut busy);
        }
    }

    /// Whether all threads hang and no more may be started.
    pub(super) fn are_held_up(&self, now: Instant) -> bool {
        let busy = self.busy();
        busy.len() >= FACTS_FINDERS && all_hang(&busy, now)
    }

    fn add(&self, busy: &mut Vec<Option<Instant>>) {
        let index = busy.len();
        let (taken, work, of_all) = (
            Arc::clone(&self.taken),
            Arc::clone(&self.work),
            Arc::clone(&self.busy),
        );
        let finder = thread::Builder::new().name("baton-facts".to_owned());
        let begun = finder.spawn(move || {
            background::lower_priority();
            // The thread that clones a child blocks its signals. Without this a SIGCHLD would wake this thread for
            // every child.
            let _ = SigSet::all().thread_block();
            // One thread waits for the next request, and the others for its lock.
            while let Ok(request) = { lock(&taken).recv() } {
                lock(&of_all)[index] = Some(baton_export::clock::now());
                work(request);
                lock(&of_all)[index] = None;
            }
        });
        // Without the thread no further facts are found; everything else continues.
        if begun.is_ok() {
            busy.push(None);
        }
    }

    fn busy(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        lock(&self.busy)
    }

    /// Makes all requests in progress appear older.
    #[cfg(test)]
    pub(super) fn age(&self) {
        for since in self.busy().iter_mut().flatten() {
            *since -= FACTS_TIMEOUT;
        }
    }
}

fn all_hang(busy: &[Option<Instant>], now: Instant) -> bool {
    let hangs = |since: &Option<Instant>| {
        since.is_some_and(|since| now.saturating_duration_since(since) >= FACTS_TIMEOUT)
    };
    busy.iter().all(hangs)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
