//! Creates children by the standard library's fork(2).

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::process::{PidfdFlags, pidfd_open};

use crate::execution::Execution;
use crate::image::Image;
use crate::sys::fork::fork;
use crate::sys::inherited::InheritedState;
use crate::{Child, Spawn, SpawnError};

/// Creates children by the standard library's fork(2), and waits for their exec. Works in every sandbox. The cost grows
/// with the memory of this process.
#[derive(Debug)]
pub struct StdSpawner {
    inherited: InheritedState,
}

impl StdSpawner {
    /// Children undo `inherited`.
    pub fn new(inherited: InheritedState) -> Self {
        Self { inherited }
    }
}

impl Spawn for StdSpawner {
    fn spawn(&self, image: Image, stdio: [BorrowedFd<'_>; 3]) -> Result<Child, SpawnError> {
        let pid = fork(image, self.inherited, stdio)?;
        let executed = Instant::now();
        Ok(Child {
            pid,
            // The child was not reaped, so the process id is still its own.
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            execution: Execution::executed_at(executed),
        })
    }
}
