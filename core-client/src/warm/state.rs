//! The published state of a warmer.
//!
//! Times are milliseconds since the Unix epoch, as the wall clock showed them. They are for display: no timer uses
//! them. A wall clock that is set back makes later times smaller than earlier ones. The order of the history is the order in
//! which warms ended, whatever their times.

use std::sync::Arc;
use std::time::Duration;

use baton_proto::limits::WARM_HISTORY_MAX;

use super::WarmInterval;

/// The state after one change. It is complete: a reader that missed changes needs the latest one only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmState {
    /// Whether warming is enabled.
    pub enabled: bool,
    /// From one warm, or from the end of the last call, to the next warm.
    pub interval: WarmInterval,
    /// Whether a call runs.
    pub active: bool,
    /// When the next automatic warm is due. `None` while a call runs or warming is disabled. While a warm runs it keeps
    /// the time before the warm.
    pub next_warm_at: Option<u64>,
    /// When the last successful warm ended.
    pub last_warm_at: Option<u64>,
    /// The result of the last warm, successful or not.
    pub last_result: Option<WarmResult>,
    /// The last [`WARM_HISTORY_MAX`] warms, oldest first. Equal results are separate entries.
    pub history: Vec<WarmRecord>,
    /// The number of changes so far. The difference between two states that a reader received, less one, is the number
    /// of changes that it missed.
    pub change: u64,
}

/// One warm that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmRecord {
    /// When it ended.
    pub at: u64,
    /// Why it began.
    pub trigger: WarmTrigger,
    /// How it ended.
    pub result: WarmResult,
    /// How long it took, by the monotonic clock.
    pub duration: Duration,
}

/// Why a warm began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmTrigger {
    /// The interval had passed.
    Automatic,
    /// The caller requested it.
    Manual,
}

/// How a warm ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarmResult {
    /// It is warm now.
    Warmed {
        /// How much of it was still warm before.
        hit: HitPercent,
    },
    /// It could not be warmed.
    Failed {
        /// Why, as a sentence for a person; at most [`WARM_ERROR_MAX`](baton_proto::limits::WARM_ERROR_MAX) bytes.
        error: Arc<str>,
    },
}

/// How much was still warm before a warm: 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HitPercent(u8);

impl HitPercent {
    /// Nothing was warm.
    pub const NONE: Self = Self(0);
    /// Everything was warm.
    pub const ALL: Self = Self(100);

    /// `None` above 100.
    pub fn new(percent: u8) -> Option<Self> {
        (percent <= 100).then_some(Self(percent))
    }

    /// The percentage as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl WarmResult {
    /// The hit percentage; `None` for a failure.
    pub fn hit(&self) -> Option<HitPercent> {
        match self {
            Self::Warmed { hit } => Some(*hit),
            Self::Failed { .. } => None,
        }
    }

    /// The error; `None` for a success.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Warmed { .. } => None,
            Self::Failed { error } => Some(error),
        }
    }
}

impl WarmState {
    pub(super) fn remember(&mut self, record: WarmRecord) {
        if self.history.len() >= WARM_HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(record);
    }
}
