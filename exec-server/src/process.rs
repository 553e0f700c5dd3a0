//! One process, from spawn to reaping.
//!
//! A [`Launch`] is a checked `Start`; for a client with a forced command `forced` replaces what it runs. A [`Backend`]
//! turns it into a child with its pipes attached; the real backend uses `spawn`. The task of a `driver` then reads the
//! pipes, watches the exit, writes standard input, sends signals, and appends events to the process's log in the order
//! in which it observed them. `events` is the response stream of `Run`, which reads the log. `state` is what these
//! share.
//!
//! The `table` owns every process, by client and id, until it is reaped, and the log of one with a grace for some time
//! after. The call that started it is an `attachment`: when it is cut short, it reports the reason, and the state
//! decides whether the process is killed. `attach` puts another call in its place, or a `watcher` beside it; `ended` is
//! the answer without a log. `repeated` is the answer to a repeated start. `shares` and `retention` limit what one
//! client may have. `reporter` calls the observer of [`crate::records`].
//!
//! `leader` is the child with its process group, `tree` the child with all its descendants, and `crate::cgroup` the
//! cgroup that they are in, where there is one. `orphans` are the children of other processes that this process has to
//! reap.
//!
//! `signal` are the signals that a client sends, which wait for the driver; `listing` describes a process in its
//! client's list.
//!
//! Six state machines without IO decide: `lifecycle` (when a process is over, and its stages), `segments` (the stages
//! of its family), `grace` (how long it outlives its session), `stop` (why it is killed, and how much time it has),
//! `kill` (when SIGKILL follows) and [`crate::log`].

mod attach;
mod attachment;
mod backend;
mod call;
mod child_io;
mod driver;
mod ended;
mod environment;
mod events;
mod forced;
mod grace;
mod kill;
mod launch;
mod leader;
mod lifecycle;
mod listing;
mod orphans;
mod output;
mod pipe;
mod program;
mod repeated;
mod reporter;
mod retention;
mod segments;
mod shares;
mod shell;
mod signal;
mod spawn;
mod state;
mod stdin;
mod stop;
mod table;
mod telemetry;
mod terminal;
mod ticker;
mod tree;
mod watcher;

pub(crate) use attach::{attach, poll, wait};
pub use backend::{Backend, Exec, ExecState, ProcessGroup, Running, System};
pub(crate) use call::CallContext;
pub use child_io::{ChildInput, ChildOutput};
pub(crate) use driver::{Processes, run};
pub use events::Events;
pub use launch::Launch;
pub use pipe::Pipe;
pub(crate) use signal::ClientSignal;
pub(crate) use table::ProcessTable;
pub use terminal::{Terminal, TerminalInput, TerminalOutput};
