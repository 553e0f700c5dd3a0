//! Keeps something warm between calls, and reports it.
//!
//! A [`Warmer`] warms anything that implements [`Warm`] whenever an interval has passed without a call. A
//! [`Client`](crate::Client) implements it: its session stays established, so that the next command needs no dial.
//! Each change is published as a [`WarmState`].
//!
//! ```text
//! call(), warm_now(), set_… ─► WarmSchedule (sans-IO) ─► WarmState ─► WarmWatch (latest state, number of changes)
//! timer, end of a warm ──────►                                   └──► the board of the exec-server
//! ```
//!
//! * `state`: the published state and its history;
//! * `interval`: the bounds of the interval;
//! * `schedule`: every decision, as a pure state machine;
//! * `warmer`: the task that runs it on tokio's clock;
//! * `session`: keeps a session warm;
//! * `pool`: sessions that are established before anybody needs them;
//! * `board`: publishes states on the exec-server, and watches them.
//!
//! A warmer belongs to one conversation: the caller keeps them by the id of its thread.

mod board;
mod interval;
mod pool;
mod schedule;
mod session;
mod state;
mod warmer;

pub use board::{BoardEvent, WarmBoard, WarmBoardError, WatchedBoard};
pub use interval::{WarmInterval, WarmIntervalError};
pub use pool::{Pool, PoolSizeError};
pub use schedule::{WarmRefusal, WarmSchedule};
pub use state::{HitPercent, WarmRecord, WarmResult, WarmState, WarmTrigger};
pub use warmer::{CallGuard, Warm, WarmChange, WarmWatch, Warmer};
