//! Programs that a test or benchmark starts, each in its own process.
//!
//! * [`RunningProgram`]: a running program: exchanges lines with it, waits for its output, stops it; dropping it kills
//!   the program;
//! * [`Stack`]: a relay and an exec-server that is registered with it;
//! * [`usage`]: memory and CPU time of a process;
//! * [`baton`]: the `baton` binary, built once.

mod binary;
mod program;
mod stack;
pub mod usage;

pub use binary::{BuildError, baton};
pub use program::{ProgramError, RunningProgram};
pub use stack::{Relays, Stack, StackError, isolated};
