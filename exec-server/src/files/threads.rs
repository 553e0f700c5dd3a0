//! The threads of transfers, which wait for further ones for a moment: to start a thread costs as much as to read a small
//! file.
//!
//! They are not those of the runtime, which waits for its threads when it ends: see [`lookups`](super::lookups). A thread
//! that works has a slot, and one that waits has had one, so there are no more of them than slots, but for those that are
//! about to end or to wait.

use std::io;
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::error::FilesError;

/// See the [module](self). Clones share the threads.
#[derive(Clone)]
pub(super) struct Threads {
    idle: Arc<Mutex<Vec<Idle>>>,
    /// How long a thread waits for work.
    wait: Duration,
    /// Bytes of a thread's stack.
    stack: usize,
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits for work.
struct Idle {
    thread: ThreadId,
    work: Sender<Work>,
}

impl Threads {
    /// Threads with stacks of `stack` bytes that wait for work as long as `wait`.
    pub(super) fn new(wait: Duration, stack: usize) -> Self {
        Self {
            idle: Arc::default(),
            wait,
            stack,
        }
    }

    /// Runs `work` on a thread that waits, else on a new one.
    ///
    /// # Errors
    /// [`FilesError::Io`]: no thread.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) -> Result<(), FilesError> {
        let mut work: Work = Box::new(work);
        while let Some(idle) = self.take() {
            match idle.work.send(work) {
                Ok(()) => return Ok(()),
                Err(SendError(unsent)) => work = unsent,
            }
        }
        self.start(work).map_err(FilesError::Io)
    }

    fn start(&self, work: Work) -> io::Result<()> {
        let threads = self.clone();
        let thread = thread::Builder::new()
            .name("baton-transfer".to_owned())
            .stack_size(self.stack);
        thread.spawn(move || threads.work(work)).map(drop)
    }

    /// A thread, from its first work until there was none for a while. Work that panics ends it.
    fn work(&self, first: Work) {
        let (sender, works) = mpsc::channel();
        let thread = thread::current().id();
        let mut work = first;
        loop {
            work();
            self.lock().push(Idle {
                thread,
                work: sender.clone(),
            });
            work = match works.recv_timeout(self.wait) {
                Ok(work) => work,
                Err(_) if self.remove(thread) => return,
                // It was taken at the last moment, so there is work for it.
                Err(_) => match works.recv() {
                    Ok(work) => work,
                    Err(_) => return,
                },
            };
        }
    }

    /// The thread that waits since the shortest time, so that the others come to their end.
    fn take(&self) -> Option<Idle> {
        self.lock().pop()
    }

    /// False: it does not wait.
    fn remove(&self, thread: ThreadId) -> bool {
        let mut idle = self.lock();
        let before = idle.len();
        idle.retain(|idle| idle.thread != thread);
        idle.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Nothing panics while it holds the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TRANSFER_STACK;

    /// The thread that ran some work.
    fn run(threads: &Threads) -> ThreadId {
        let (sender, thread) = mpsc::channel();
        let work = move || sender.send(thread::current().id()).unwrap();
        threads.run(work).unwrap();
        thread.recv().unwrap()
    }

    fn until_idle(threads: &Threads, count: usize) {
        while threads.lock().len() != count {
            thread::yield_now();
        }
    }

    #[test]
    fn work_runs_on_the_thread_that_waits_and_beside_it_on_another() {
        let threads = Threads::new(Duration::from_secs(3600), TRANSFER_STACK);
        let first = run(&threads);
        until_idle(&threads, 1);
        let (release, held) = mpsc::channel::<()>();
        let (sender, busy) = mpsc::channel();
        let hold = move || {
            sender.send(thread::current().id()).unwrap();
            let _ = held.recv();
        };
        threads.run(hold).unwrap();
        assert_eq!(busy.recv().unwrap(), first);
        let second = run(&threads);
        assert_ne!(second, first);
        until_idle(&threads, 1);
        assert_eq!(run(&threads), second);
        drop(release);
        until_idle(&threads, 2);
    }

    #[test]
    fn a_thread_without_work_ends_and_one_whose_work_panics_is_not_used_again() {
        let threads = Threads::new(Duration::ZERO, TRANSFER_STACK);
        let first = run(&threads);
        until_idle(&threads, 0);
        let threads = Threads::new(Duration::from_secs(3600), TRANSFER_STACK);
        assert_ne!(run(&threads), first);
        until_idle(&threads, 1);
        threads.run(|| panic!("on purpose")).unwrap();
        until_idle(&threads, 0);
        run(&threads);
        until_idle(&threads, 1);
    }
}
