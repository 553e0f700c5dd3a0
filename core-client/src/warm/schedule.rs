//! Decides when to warm: a pure state machine without IO and clock.
//!
//! Every input has the present time as an [`Anchor`]: its monotonic part decides the timer, its wall-clock part is
//! published. So a wall clock that steps changes no timer. A monotonic clock that stands still delays the next warm and
//! causes nothing else.
//!
//! | input | timer |
//! |---|---|
//! | created, enabled, interval changed, last call ended, warm ended | armed from now |
//! | call started, disabled | off |
//! | end of a warm during which a call started | unchanged |
//!
//! Whenever a call runs or warming is disabled the timer is off and `next_warm_at` is `None`. One warm runs at a time;
//! the timer does not fire during it.

use std::time::Instant;

use baton_trace::record::Anchor;

use super::WarmInterval;
use super::state::{WarmRecord, WarmResult, WarmState, WarmTrigger};

#[cfg(test)]
mod tests;

/// When to warm one conversation: a state machine without IO, which takes the time as an argument. Each method that
/// changes the published state increases [`WarmState::change`].
#[derive(Debug, Clone)]
pub struct WarmSchedule {
    state: WarmState,
    /// When the next automatic warm is due.
    deadline: Option<Instant>,
    /// Calls that run.
    calls: usize,
    warming: Option<RunningWarm>,
}

#[derive(Debug, Clone, Copy)]
struct RunningWarm {
    trigger: WarmTrigger,
    began: Instant,
    /// A call has started since.
    is_overtaken: bool,
}

/// Why a manual warm did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarmRefusal {
    /// A call runs, which keeps it warm itself.
    #[error("busy: a call is running; warm again when it has ended")]
    Busy,
    /// Another warm runs.
    #[error("a warm is already running: its result is the next one of the history")]
    Warming,
    /// The warmer's task has ended with its runtime.
    #[error("the warmer has stopped, because its runtime has ended")]
    Stopped,
}

impl WarmSchedule {
    /// A schedule without calls. If it is enabled the timer is armed from now.
    pub fn new(interval: WarmInterval, enabled: bool, now: Anchor) -> Self {
        let mut schedule = Self {
            state: WarmState {
                enabled,
                interval,
                active: false,
                next_warm_at: None,
                last_warm_at: None,
                last_result: None,
                history: Vec::new(),
                change: 0,
            },
            deadline: None,
            calls: 0,
            warming: None,
        };
        schedule.arm(now);
        schedule
    }

    /// The present state.
    pub fn state(&self) -> &WarmState {
        &self.state
    }

    /// When [`begin_due`](Self::begin_due) must be called next; `None` while the timer is off or a warm runs.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.warming.is_none())
    }

    /// Enables or disables warming. Without a change of the value, nothing changes: the timer goes on.
    pub fn set_enabled(&mut self, enabled: bool, now: Anchor) {
        if self.state.enabled != enabled {
            self.state.enabled = enabled;
            self.arm(now);
            self.state.change += 1;
        }
    }

    /// Changes the interval. Without a change of the value, nothing changes: the timer goes on.
    pub fn set_interval(&mut self, interval: WarmInterval, now: Anchor) {
        if self.state.interval != interval {
            self.state.interval = interval;
            self.arm(now);
            self.state.change += 1;
        }
    }

    /// A call has started. Calls may overlap.
    pub fn call_started(&mut self, now: Anchor) {
        self.calls += 1;
        if let Some(warming) = &mut self.warming {
            warming.is_overtaken = true;
        }
        self.state.active = true;
        self.arm(now);
        self.state.change += 1;
    }

    /// A call has ended. With the last one the timer is armed. Ignored if no call runs.
    pub fn call_ended(&mut self, now: Anchor) {
        let Some(calls) = self.calls.checked_sub(1) else {
            return;
        };
        self.calls = calls;
        self.state.active = calls > 0;
        self.arm(now);
        self.state.change += 1;
    }

    /// Begins a manual warm, whether warming is enabled or not. The caller warms, then calls
    /// [`end_warm`](Self::end_warm).
    ///
    /// # Errors
    /// [`WarmRefusal::Busy`], [`WarmRefusal::Warming`]. Nothing changes.
    pub fn begin_manual(&mut self, now: Anchor) -> Result<(), WarmRefusal> {
        if self.calls > 0 {
            return Err(WarmRefusal::Busy);
        }
        if self.warming.is_some() {
            return Err(WarmRefusal::Warming);
        }
        self.begin(WarmTrigger::Manual, now);
        Ok(())
    }

    /// Begins an automatic warm if one is due. `true`: the caller warms, then calls [`end_warm`](Self::end_warm).
    pub fn begin_due(&mut self, now: Anchor) -> bool {
        let is_due = self.next_timeout().is_some_and(|due| due <= now.instant);
        if is_due {
            self.begin(WarmTrigger::Automatic, now);
        }
        is_due
    }

    fn begin(&mut self, trigger: WarmTrigger, now: Anchor) {
        self.warming = Some(RunningWarm {
            trigger,
            began: now.instant,
            is_overtaken: false,
        });
    }

    /// The warm that runs has ended. Ignored if none runs.
    pub fn end_warm(&mut self, result: WarmResult, now: Anchor) {
        let Some(warm) = self.warming.take() else {
            return;
        };
        let at = unix_ms(now);
        if matches!(result, WarmResult::Warmed { .. }) {
            self.state.last_warm_at = Some(at);
        }
        self.state.last_result = Some(result.clone());
        self.state.remember(WarmRecord {
            at,
            trigger: warm.trigger,
            result,
            duration: now.instant.saturating_duration_since(warm.began),
        });
        // The end of that call has armed the timer, or will.
        if !warm.is_overtaken {
            self.arm(now);
        }
        self.state.change += 1;
    }

    /// Arms the timer from now, or turns it off.
    fn arm(&mut self, now: Anchor) {
        let is_armed = self.state.enabled && self.calls == 0;
        let interval = self.state.interval;
        self.deadline = is_armed.then(|| now.instant + interval.as_duration());
        self.state.next_warm_at = is_armed.then(|| unix_ms(now).saturating_add(interval.as_millis()));
    }
}

fn unix_ms(now: Anchor) -> u64 {
    now.unix_ns / 1_000_000
}
