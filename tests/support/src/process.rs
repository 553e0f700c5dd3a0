//! The parts of a run, each a process of its own.
//!
//! * [`Part`]: a running helper: talk to it by lines, wait for what it says, stop it; it dies with its handle;
//! * [`Stack`]: relay and exec-server, up and registered;
//! * [`usage`]: the memory and CPU time that a process used;
//! * [`baton`]: the `baton` binary, built once.

mod binary;
mod part;
mod stack;
pub mod usage;

pub use binary::{BuildError, baton};
pub use part::{Part, PartError};
pub use stack::{Stack, StackError, isolated};
