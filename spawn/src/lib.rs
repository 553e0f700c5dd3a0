//! Starts child processes.
//!
//! A caller fills in an [`Image`] and passes it to a [`Spawn`]:
//!
//! * [`CloneSpawner`] creates the child by clone(2) and does not wait for its exec;
//! * [`StdSpawner`] creates it by the standard library's fork(2) and waits.
//!
//! [`UserSpawner`] is for a child that becomes another [`User`].
//!
//! [`Method::select`] chooses between them, by a probe if asked. [`InheritedState`] is the state that a child would
//! inherit from this process and must not. [`limits`] has every bound, with its reason and its cost.
//!
//! A child leads a process group of its own and has no controlling terminal, unless [`Image::terminal`] says so. No
//! signal is blocked in it, and each has its default action. Its only descriptors are the three of `stdio`.
//!
//! All `unsafe` code is in the private module `sys`.

mod clone_spawner;
mod environment;
mod execution;
mod image;
pub mod limits;
mod method;
mod std_spawner;
mod sys;
mod user;
mod user_spawner;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

pub use clone_spawner::CloneSpawner;
pub use environment::{Environment, Variable};
pub use execution::{Execution, ExecutionState};
pub use image::Image;
pub use method::{CloneUnavailable, Method, Selected};
use rustix::io::Errno;
use rustix::process::Pid;
pub use std_spawner::StdSpawner;
pub use sys::inherited::InheritedState;
pub use user::{User, UserFailure};
pub use user_spawner::UserSpawner;

/// Starts child processes.
pub trait Spawn: fmt::Debug + Send + Sync + 'static {
    /// Creates a child process. Its exec may follow later, and may fail then: see [`Child::execution`].
    ///
    /// `stdio` becomes its descriptors 0, 1 and 2; none of the three may be below 3. The caller may close them as soon
    /// as this returns. All other descriptors of this process must be close-on-exec.
    fn spawn(&self, image: Image, stdio: [BorrowedFd<'_>; 3]) -> Result<Child, SpawnError>;
}

/// A child process. The caller must wait for it: dropping this value neither kills nor reaps the child.
#[derive(Debug)]
pub struct Child {
    /// Its process id, which is also its group's.
    pub pid: Pid,
    /// Readable once it has exited. Close-on-exec. `None` if the kernel has no pidfds or a sandbox refuses them.
    pub pidfd: Option<OwnedFd>,
    /// The state of its exec.
    pub execution: Execution,
}

/// No program runs, and no process is left.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The operating system created no process.
    #[error("no process could be created: {0}")]
    NotCreated(#[source] io::Error),
    /// The child's exec failed, or a step before it. Only from a [`Spawn`] that waits for the exec.
    #[error("the program could not be executed: {errno}")]
    NotExecuted {
        /// The error of the step that failed.
        errno: Errno,
        /// The program that was not executed.
        image: Box<Image>,
    },
}
