//! Creates children that become another user.

use std::os::fd::BorrowedFd;

use rustix::process::{PidfdFlags, pidfd_open};

use crate::execution::Execution;
use crate::image::Image;
use crate::sys::fork::{Forked, fork_as};
use crate::sys::inherited::InheritedState;
use crate::user::User;
use crate::{Child, SpawnError};

/// Creates children that become another user before their exec. This process must be root.
///
/// A child has its own copy of this process's memory, by fork(2), which the kernel protects from the user: a child that
/// shares the memory could be used against this process. This process waits until the child leads its process group,
/// and for nothing that the user can delay, such as the exec: [`Execution`] reports it.
///
/// Beside what each child has, it has the umask 022, no capability unless it is root's, and a session keyring of its
/// own.
#[derive(Debug)]
pub struct UserSpawner {
    inherited: InheritedState,
}

impl UserSpawner {
    /// Children undo `inherited`.
    pub fn new(inherited: InheritedState) -> Self {
        Self { inherited }
    }

    /// As [`Spawn::spawn`](crate::Spawn::spawn). The program of `image` may be relative to the working directory, and
    /// that to the user's home.
    pub fn spawn(&self, image: Image, user: User, stdio: [BorrowedFd<'_>; 3]) -> Result<Child, SpawnError> {
        let Forked {
            pid,
            report,
            at,
            at_ns,
        } = fork_as(image, user, self.inherited, stdio)?;
        Ok(Child {
            pid,
            // The child was not reaped, so the process id is still its own.
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            execution: Execution::of_report(report, at, at_ns),
        })
    }
}
