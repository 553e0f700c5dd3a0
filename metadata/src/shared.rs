//! What the handles and the writer's thread share: the machine behind one lock, and how the thread is woken.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_trace::recorder::Recorder;
use tokio::sync::oneshot;

use crate::barrier::{FlushError, Flushed, Ticket};
use crate::machine::Machine;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct WriterShared {
    state: Mutex<State>,
    pub(crate) wake: Condvar,
    recorder: Recorder,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: Machine,
    pub(crate) waiters: HashMap<Ticket, oneshot::Sender<Result<Flushed, FlushError>>>,
    /// The thread sleeps, and looks again then; `None` while it is awake.
    pub(crate) sleeps_until: Option<Instant>,
    /// What is being written.
    pub(crate) writing: Option<Writing>,
    pub(crate) mode: Mode,
}

/// A write that has not returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    pub(crate) since: Instant,
    pub(crate) patches: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Runs,
    /// As soon as the store returns.
    Ends,
    /// There is no thread any more.
    Ended,
}

impl State {
    /// Tells those whose barriers are over.
    pub(crate) fn tell(&mut self) {
        for (ticket, result) in self.machine.over() {
            if let Some(waiter) = self.waiters.remove(&ticket) {
                // Nobody waits any more: nothing to tell.
                let _ = waiter.send(result);
            }
        }
    }
}

impl WriterShared {
    pub(crate) fn new(machine: Machine, recorder: Recorder) -> Self {
        Self {
            state: Mutex::new(State {
                machine,
                waiters: HashMap::new(),
                sleeps_until: None,
                writing: None,
                mode: Mode::Runs,
            }),
            wake: Condvar::new(),
            recorder,
        }
    }

    /// Held for a few microseconds at most: never while the store works.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread if what is due comes before it would look by itself.
    pub(crate) fn wake_if_due(&self, state: &mut State, now: Instant) {
        if state
            .sleeps_until
            .is_some_and(|until| state.machine.is_due_before(until, now))
        {
            self.wake(state);
        }
    }

    pub(crate) fn wake(&self, state: &mut State) {
        // Once is enough: it looks at everything.
        state.sleeps_until = None;
        self.wake.notify_one();
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}
