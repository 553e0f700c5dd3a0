//! Metadata of processes and threads that is never in the way and never lost.
//!
//! * [`record`]: what is known of a process and of a thread, as patches that merge;
//! * [`batch`]: what is written in one go;
//! * [`store`]: where it is written to, and what can go wrong there;
//! * [`limits`]: every bound, with its reason and what it can cost.
//!
//! This crate stands apart from the exec-server on purpose: the code that delivers events does not import it, so it cannot wait for
//! a disk. It hands over what happened by a call that returns at once.

pub mod batch;
mod facts;
pub mod limits;
pub mod record;
pub mod store;

pub use batch::Batch;
pub use record::{ProcessPatch, ThreadPatch, Update};
pub use store::{Store, WriteError};
