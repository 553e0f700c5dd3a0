//! The programs of a run, each in a process of its own.
//!
//! * [`RunningProgram`]: a running program: exchanges lines with it, waits for its output, stops it; dropping the handle kills it;
//! * [`Stack`]: relay and exec-server, up and registered;
//! * [`usage`]: the memory and CPU time that a process used;
//! * [`baton`]: the `baton` binary, built once.

mod binary;
mod program;
mod stack;
pub mod usage;

pub use binary::{BuildError, baton};
pub use program::{ProgramError, RunningProgram};
pub use stack::{Stack, StackError, isolated};
