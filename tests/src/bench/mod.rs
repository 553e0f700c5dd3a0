//! What the benchmarks share, whatever they measure.
//!
//! * [`machine`]: what a reader must know of the machine;
//! * [`worker`]: this executable again as a process that answers requests, seen from both ends;
//! * [`interleave`]: rounds of visits;
//! * [`options`] and [`run`]: from the command line to the exit code;
//! * [`row`] and [`table`]: numbers, verdicts, and how they are shown.

mod interleave;
pub mod machine;
pub mod options;
mod report;
pub mod row;
pub mod run;
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
