//! Runs a [`WarmSchedule`] on tokio's clock: one task for each warmer.
//!
//! Changes are published over `tokio::sync::watch`, with the number of changes in each state. A state is complete and
//! has the history, so a slow reader needs the latest one only, and the numbers say how many it missed. A broadcast
//! would keep memory for the slowest reader and would still have to report a gap.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use baton_export::clock;
use baton_proto::limits::WARM_ERROR_MAX;
use futures_util::FutureExt as _;
use futures_util::future::pending;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout};

use super::WarmInterval;
use super::schedule::{WarmRefusal, WarmSchedule};
use super::state::{HitPercent, WarmResult, WarmState};
use crate::limits::WARM_TIMEOUT;

/// Something that can be kept warm: a session, a cache of a model's provider, a build daemon.
pub trait Warm: Send + Sync + 'static {
    /// Warms it, and returns how much was still warm. An error is a sentence for a person; it is cut after
    /// [`WARM_ERROR_MAX`] bytes. The future is dropped after [`WARM_TIMEOUT`], and with the [`Warmer`].
    fn warm(&self) -> impl Future<Output = Result<HitPercent, String>> + Send;
}

/// Keeps one thing warm. Dropping it stops its task, aborts a warm that runs, and ends every [`WarmWatch`].
#[derive(Debug)]
pub struct Warmer {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Reply>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    schedule: Mutex<WarmSchedule>,
    states: watch::Sender<WarmState>,
    /// Notified when the timer may have changed.
    timer: Notify,
}

/// Returns the result of a manual warm to its caller.
type Reply = oneshot::Sender<WarmResult>;

/// A call that runs. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the call ends when the guard is dropped"]
pub struct CallGuard(Weak<Shared>);

/// Follows the states of a [`Warmer`].
#[derive(Debug, Clone)]
pub struct WarmWatch {
    states: watch::Receiver<WarmState>,
    /// The number of the last change that was returned.
    seen: Option<u64>,
}

/// A state, and how many changes before it were not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmChange {
    /// The latest state.
    pub state: WarmState,
    /// Changes since the state that was returned before, which this reader was too slow for.
    pub missed: u64,
}

impl Warmer {
    /// Starts to warm `target`, first after one interval. Must be called in a tokio runtime with time.
    pub fn start(target: impl Warm, interval: WarmInterval) -> Self {
        Self::spawn(target, interval, true)
    }

    /// A warmer that is disabled at first.
    pub fn start_disabled(target: impl Warm, interval: WarmInterval) -> Self {
        Self::spawn(target, interval, false)
    }

    fn spawn(target: impl Warm, interval: WarmInterval, enabled: bool) -> Self {
        let schedule = WarmSchedule::new(interval, enabled, clock::anchor());
        let (states, _) = watch::channel(schedule.state().clone());
        let shared = Arc::new(Shared {
            schedule: Mutex::new(schedule),
            states,
            timer: Notify::new(),
        });
        // One warm runs at a time, so one request can wait.
        let (requests, requested) = mpsc::channel(1);
        let task = tokio::spawn(run(target, Arc::clone(&shared), requested));
        Self {
            shared,
            requests,
            task: task.abort_handle(),
        }
    }

    /// The present state.
    pub fn state(&self) -> WarmState {
        self.shared.states.borrow().clone()
    }

    /// Follows the states, from the present one.
    pub fn watch(&self) -> WarmWatch {
        WarmWatch {
            states: self.shared.states.subscribe(),
            seen: None,
        }
    }

    /// Enables or disables warming.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared
            .change(|schedule| schedule.set_enabled(enabled, clock::anchor()));
    }

    /// Changes the interval; the timer starts again.
    pub fn set_interval(&self, interval: WarmInterval) {
        self.shared
            .change(|schedule| schedule.set_interval(interval, clock::anchor()));
    }

    /// A call starts; it ends when the guard is dropped. No automatic warm begins meanwhile.
    pub fn call(&self) -> CallGuard {
        self.shared
            .change(|schedule| schedule.call_started(clock::anchor()));
        CallGuard(Arc::downgrade(&self.shared))
    }

    /// Warms now, also while disabled. If the returned future is dropped, the warm goes on and is recorded.
    ///
    /// # Errors
    /// [`WarmRefusal`]: nothing was warmed.
    pub async fn warm_now(&self) -> Result<WarmResult, WarmRefusal> {
        // Before the schedule, in which the warm would never end.
        if self.requests.is_closed() {
            return Err(WarmRefusal::Stopped);
        }
        self.shared
            .change(|schedule| schedule.begin_manual(clock::anchor()))?;
        let (reply, result) = oneshot::channel();
        self.requests.try_send(reply).map_err(|_| WarmRefusal::Stopped)?;
        result.await.map_err(|_| WarmRefusal::Stopped)
    }
}

impl Drop for Warmer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.change(|schedule| schedule.call_ended(clock::anchor()));
        }
    }
}

impl Shared {
    /// Makes one input, and publishes the state if it changed. Under one lock, so that states are published in order.
    fn change<T>(&self, input: impl FnOnce(&mut WarmSchedule) -> T) -> T {
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let output = input(&mut schedule);
        let state = schedule.state();
        let is_changed = self.states.send_if_modified(|published| {
            let is_changed = published.change != state.change;
            if is_changed {
                published.clone_from(state);
            }
            is_changed
        });
        if is_changed {
            self.timer.notify_one();
        }
        output
    }
}

/// The task of a warmer.
async fn run(target: impl Warm, shared: Arc<Shared>, mut requests: mpsc::Receiver<Reply>) {
    loop {
        let due = shared.change(|schedule| schedule.next_timeout());
        let timer = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let reply = tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(reply) => Some(reply),
                None => return,
            },
            () = shared.timer.notified() => continue,
            () = timer => match shared.change(|schedule| schedule.begin_due(clock::anchor())) {
                true => None,
                false => continue,
            },
        };
        let result = warm(&target).await;
        shared.change(|schedule| schedule.end_warm(result.clone(), clock::anchor()));
        if let Some(reply) = reply {
            // Fails if the caller no longer waits.
            let _ = reply.send(result);
        }
    }
}

/// Warms once. A panic of the target is a failure, because the warmer must go on.
async fn warm(target: &impl Warm) -> WarmResult {
    let warming = AssertUnwindSafe(async { target.warm().await }).catch_unwind();
    let failed = |error: &str| WarmResult::Failed {
        error: error[..error.floor_char_boundary(WARM_ERROR_MAX)].into(),
    };
    match timeout(WARM_TIMEOUT, warming).await {
        Ok(Ok(Ok(hit))) => WarmResult::Warmed { hit },
        Ok(Ok(Err(error))) => failed(&error),
        Ok(Err(_)) => failed("the code that warms has panicked"),
        Err(_) => failed(&format!("it was not warm within {} s", WARM_TIMEOUT.as_secs())),
    }
}

impl WarmWatch {
    /// The present state at the first call, then the latest state after each change. `None` once the warmer was
    /// dropped and its last state was returned. Cancellation safe.
    pub async fn next(&mut self) -> Option<WarmChange> {
        if self.seen.is_some() {
            self.states.changed().await.ok()?;
        }
        let state = self.states.borrow_and_update().clone();
        let missed = match self.seen.replace(state.change) {
            Some(before) => state.change.saturating_sub(before + 1),
            None => 0,
        };
        Some(WarmChange { state, missed })
    }
}

#[cfg(test)]
mod tests;
