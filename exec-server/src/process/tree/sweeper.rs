//! Runs the sweeps of all trees, on one thread, so that one look at /proc serves all of them.
//!
//! The thread exists while there is a sweep. It is none of the runtime's (`spawn_blocking`): those may all wait for
//! something else.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use baton_export::clock;
use tokio::sync::oneshot;

use super::procfs::Procfs;
use super::sweep::{Sweeps, SweptTree};
use crate::cgroup::Cgroup;
use crate::limits::SWEEP_STACK;

/// See the [module](self). Clones share the thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sweeper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Request>,
    /// There is a thread, which looks here before it ends.
    is_running: bool,
}

#[derive(Debug)]
struct Request {
    tree: Tree,
    done: oneshot::Sender<u32>,
}

type Tree = SweptTree<Arc<Cgroup>>;

impl Sweeper {
    /// Sweeps a tree, whose leader must not be reaped before the answer: the number of survivors.
    pub(super) fn sweep(&self, tree: Tree) -> oneshot::Receiver<u32> {
        let (done, answer) = oneshot::channel();
        let request = Request { tree, done };
        let mut queue = self.0.lock();
        queue.waiting.push(request);
        let needs_thread = !std::mem::replace(&mut queue.is_running, true);
        drop(queue);
        self.0.added.notify_one();
        if needs_thread {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new()
                .name("baton-sweep".to_owned())
                .stack_size(SWEEP_STACK);
            // A command that has used up the limit on processes leaves none for a thread, and is to end all the same.
            if thread.spawn(move || shared.run()).is_err() {
                self.0.run();
            }
        }
        answer
    }
}

/// A panic of the thread would leave the other trees without an answer, and their processes in the table for ever.
struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut queue = self.0.lock();
            queue.is_running = false;
            queue.waiting.clear();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sweeps until no tree is left.
    fn run(&self) {
        let _running = Running(self);
        let mut sweeps = Sweeps::new(Procfs::default());
        let mut next = None;
        while self.take(&mut sweeps, next) {
            next = sweeps.pass(clock::now(), |done: oneshot::Sender<u32>, survivors| {
                // The driver may have been dropped with its runtime.
                let _ = done.send(survivors);
            });
        }
    }

    /// Waits until the next pass is due, or there is another tree. Returns false if there is none.
    fn take(&self, sweeps: &mut Sweeps<Procfs, oneshot::Sender<u32>>, next: Option<Instant>) -> bool {
        let mut queue = self.lock();
        while let Some(next) = next
            && queue.waiting.is_empty()
        {
            let wait = next.saturating_duration_since(clock::now());
            if wait.is_zero() {
                break;
            }
            let waited = self.added.wait_timeout(queue, wait);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        for Request { tree, done } in queue.waiting.drain(..) {
            sweeps.add(tree, clock::now(), done);
        }
        queue.is_running = !sweeps.is_empty();
        queue.is_running
    }
}
