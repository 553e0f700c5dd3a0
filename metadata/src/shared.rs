//! State that the handles and the writer's thread share: the scheduler behind one lock, and the condition variable that
//! wakes the thread.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_trace::recorder::Recorder;
use tokio::sync::oneshot;

use crate::barrier::{BarrierId, FlushError, Flushed};
use crate::scheduler::WriteScheduler;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct WriterShared {
    state: Mutex<WriterState>,
    pub(crate) wake: Condvar,
    recorder: Recorder,
}

#[derive(Debug)]
pub(crate) struct WriterState {
    pub(crate) scheduler: WriteScheduler,
    pub(crate) waiters: HashMap<BarrierId, oneshot::Sender<Result<Flushed, FlushError>>>,
    /// When the sleeping thread wakes by itself; `None` while it is awake.
    pub(crate) sleeps_until: Option<Instant>,
    /// The write in progress.
    pub(crate) writing: Option<WriteInProgress>,
    pub(crate) mode: WriterMode,
}

/// A write that has not returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteInProgress {
    pub(crate) since: Instant,
    pub(crate) patches: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterMode {
    Running,
    /// The thread stops as soon as the store returns.
    Stopping,
    /// The thread has ended.
    Stopped,
}

impl WriterState {
    /// Notifies the waiters of completed barriers.
    pub(crate) fn notify(&mut self) {
        for (barrier, result) in self.scheduler.over() {
            if let Some(waiter) = self.waiters.remove(&barrier) {
                // The waiter may have been dropped.
                let _ = waiter.send(result);
            }
        }
    }
}

impl WriterShared {
    pub(crate) fn new(scheduler: WriteScheduler, recorder: Recorder) -> Self {
        Self {
            state: Mutex::new(WriterState {
                scheduler,
                waiters: HashMap::new(),
                sleeps_until: None,
                writing: None,
                mode: WriterMode::Running,
            }),
            wake: Condvar::new(),
            recorder,
        }
    }

    /// Locks the state, for a few microseconds at most: never while the store works.
    pub(crate) fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread if something is due before it would wake by itself.
    pub(crate) fn wake_if_due(&self, state: &mut WriterState, now: Instant) {
        if state
            .sleeps_until
            .is_some_and(|until| state.scheduler.is_due_before(until, now))
        {
            self.wake(state);
        }
    }

    pub(crate) fn wake(&self, state: &mut WriterState) {
        // One wake-up is enough: the thread examines everything that is due.
        state.sleeps_until = None;
        self.wake.notify_one();
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}
