//! One process, from spawn to reaping.
//!
//! The flow: a [`Launch`] is a checked `Start`; a [`Backend`] (`spawn`, for the real one) turns it into a child with
//! its pipes attached; a `driver` task of its own then reads the pipes, watches the exit, feeds stdin and kills, and
//! appends to the process's log what happened, in the order in which it saw it; `follow` is the log's way out, the
//! response stream of `Run`. The `table` holds every process by client and id until it is reaped, whatever becomes of
//! its RPC; `repeated` is the answer to a start that is repeated; `shares` and `kept` say how much of all that one
//! client may have. `telling` is what the observer of [`crate::records`] learns of one.
//!
//! The decisions are in three machines without IO: `life` (when is a process over, what did it take), `kill`
//! (which signal, when) and [`crate::log`].

mod backend;
mod driver;
mod environment;
mod follow;
mod kept;
mod kill;
mod launch;
mod leader;
mod life;
mod output;
mod pipe;
mod program;
mod repeated;
mod shared;
mod shares;
mod spawn;
mod stdin;
mod table;
mod telemetry;
mod telling;
mod ticker;

pub use backend::{Backend, Exec, ExecState, ProcessGroup, Running, System};
pub(crate) use driver::{Processes, run};
pub use follow::Events;
pub use launch::Launch;
pub use pipe::Pipe;
pub(crate) use table::ProcessTable;
