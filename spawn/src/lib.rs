//! Starts child processes.
//!
//! A caller fills in an [`Image`] and passes it to a [`Spawn`]:
//!
//! * [`CloneSpawner`] creates the child by clone(2) and does not wait for its exec.
//!
//! [`InheritedState`] holds what a child would inherit from this process and must not. [`limits`] has every bound, with its reason
//! and its cost.
//!
//! A child leads a process group of its own and has no controlling terminal. No signal is blocked in it, and each has its default
//! action. It has the three descriptors that it was given and no other.
//!
//! All `unsafe` code is in the private module `sys`.

mod environment;
mod execution;
mod image;
mod inherited;
pub mod limits;
mod sys;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

pub use environment::{Environment, Variable};
pub use execution::{Execution, ExecutionState};
pub use image::Image;
pub use inherited::InheritedState;
use rustix::process::Pid;
pub use sys::clone::CloneSpawner;

/// Starts child processes.
pub trait Spawn: fmt::Debug + Send + Sync + 'static {
    /// Creates a child process. Its exec may follow later, and may fail then: see [`Child::execution`].
    ///
    /// `stdio` becomes its descriptors 0, 1 and 2; none of the three may be below 3. The caller may close them as soon as this returns. All
    /// other descriptors of this process must be close-on-exec.
    ///
    /// # Errors
    /// The operating system created no process.
    fn spawn(&self, image: Image, stdio: [BorrowedFd<'_>; 3]) -> io::Result<Child>;
}

/// A child process. The caller has to wait for it: dropping this value neither kills nor reaps the child.
#[derive(Debug)]
pub struct Child {
    /// Its process id, which is also its group's.
    pub pid: Pid,
    /// Readable once it has exited. Close-on-exec.
    pub pidfd: OwnedFd,
    /// How far it is on its way to its program.
    pub execution: Execution,
}
