//! What the benchmarks share, whatever they measure.
//!
//! * [`options`] and [`run`]: from the command line to the exit code;
//! * [`machine`]: what a reader must know of the machine;
//! * [`worker`]: this executable again as a process that answers requests, seen from both ends;
//! * [`interleave`]: rounds of visits;
//! * [`stats`]: rounds, intervals and verdicts;
//! * [`row`] and [`table`]: numbers, verdicts, and how they are shown;
//! * [`floor`]: what an execution costs without Baton;
//! * [`ssh`]: a private OpenSSH server, and clients of it;
//! * [`link`]: a long, narrow link;
//! * [`network`]: a loopback with a congestion control of its own;
//! * [`sink`]: an OTLP receiver that counts spans and drops them;
//! * [`limits`]: how long anything here waits.

pub mod floor;
mod interleave;
pub mod limits;
pub mod link;
pub mod machine;
pub mod network;
pub mod options;
mod report;
pub mod row;
pub mod run;
pub mod sink;
pub mod ssh;
pub mod stats;
pub mod table;
pub mod worker;

use std::error::Error;

pub use interleave::interleave;
pub use options::Options;
pub use row::{Row, Unit};
pub use run::{Phase, Run};
pub use worker::Worker;

/// What ends a benchmark or a worker early, in words.
pub type Failure = Box<dyn Error + Send + Sync>;
