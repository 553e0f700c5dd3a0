//! The threads that wait for the file system, so that nobody else does: one as a rule, begun at the first request.
//!
//! A look cannot be taken back from a file system that hangs, and a thread that waits for one is lost until it answers. Another one takes
//! its place after a while, up to a bound; those that come back take part again. When all hang, nothing is looked for until one comes back,
//! and the owner is told.

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
    /// Of each thread, since when it has worked on a request; `None` if it is free.
    busy: Arc<Mutex<Vec<Option<Instant>>>>,
}

impl FinderThreads {
    /// Begins the first thread, which does `work` for each request.
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

    /// Hands over a request, and puts another thread in the place of those that hang if all do.
    pub(super) fn send(&self, request: FactsRequest, now: Instant) {
        // Full: they are behind. The thread's next command asks again.
        let _ = self.requests.try_send(request);
        let mut busy = self.busy();
        if busy.len() < FACTS_FINDERS && all_hang(&busy, now) {
            self.add(&mut busy);
        }
    }

    /// Whether nothing is looked for, because all hang and there may be no more of them.
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
            // Cloning a child blocks signals in the thread that does it; a SIGCHLD would wake this one instead, for every child.
            let _ = SigSet::all().thread_block();
            // One waits for the next request, and the others for that one.
            while let Ok(request) = { lock(&taken).recv() } {
                lock(&of_all)[index] = Some(baton_export::clock::now());
                work(request);
                lock(&of_all)[index] = None;
            }
        });
        // Without it nothing more is found, and all else goes on.
        if begun.is_ok() {
            busy.push(None);
        }
    }

    fn busy(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        lock(&self.busy)
    }

    /// Makes all that work on a request look as if they had for longer.
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
