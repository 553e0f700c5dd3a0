//! Keeps something warm between calls, and reports it.
//!
//! [`WarmSchedule`] decides when to warm. Each change is published as a [`WarmState`].
//!
//! * `state`: the published state and its history;
//! * `interval`: the bounds of the interval;
//! * `schedule`: every decision, as a pure state machine;
//!

mod interval;
mod schedule;
mod state;

pub use interval::{WarmInterval, WarmIntervalError};
pub use schedule::{WarmRefusal, WarmSchedule};
pub use state::{HitPercent, WarmRecord, WarmResult, WarmState, WarmTrigger};
