//! Code that all benchmarks share.
//!
//! * [`options`] and [`run`]: from the command line to the exit code;
//! * [`machine`]: the hardware and software that the numbers depend on;
//! * [`worker`]: this executable as a child process that answers requests: both ends of the exchange;
//! * [`interleave`], [`in_sets`]: rounds of visits, also of processes that are started anew;
//! * [`stats`]: rounds, intervals and verdicts;
//! * [`row`] and [`table`]: numbers and verdicts, and their layout;
//! * [`floor`]: the cost of an execution without Baton;
//! * [`ssh`]: a private OpenSSH server, and clients of it;
//! * [`fleet`]: HAProxy and relays behind it;
//! * [`link`]: a link of high latency and low bandwidth;
//! * [`network`]: a loopback with a chosen congestion control;
//! * [`records`]: the records of an exec-server, counted;
//! * [`packages`]: installs peers with apt-get;
//! * [`sink`]: an OTLP receiver that counts spans and drops them;
//! * [`limits`]: timeouts and bounds.

pub mod fleet;
pub mod floor;
mod interleave;
pub mod limits;
pub mod link;
pub mod machine;
pub mod network;
pub mod options;
pub mod packages;
pub mod records;
mod report;
pub mod row;
pub mod run;
pub mod sink;
pub mod ssh;
pub mod stats;
pub mod table;
pub mod worker;

use std::error::Error;

pub use interleave::{ProcessSets, in_sets, interleave, start_in_turns};
pub use options::Options;
pub use row::{Row, Unit};
pub use run::{Phase, Run};
pub use worker::Worker;

/// An error that ends a benchmark or a worker early.
pub type Failure = Box<dyn Error + Send + Sync>;
