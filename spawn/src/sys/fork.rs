//! Creates a child by the standard library's fork(2), and waits for its exec.
//!
//! It needs neither shared memory nor a pidfd from clone, so it works in sandboxes that refuse them. Its cost grows
//! with this process's memory, whose page tables fork copies.
//!
//! `posix_spawn` is no alternative: it shares memory too, and can neither give up the terminal nor restore the limit on
//! open files. A helper program could do both, but it costs a second exec, and a library has no such program.

use std::convert::Infallible;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::Pid;

use super::child::{self, OtherDescriptors};
use super::inherited::InheritedState;
use super::memory::ExecPlan;
use super::signals::BlockedSignals;
use crate::SpawnError;
use crate::image::Image;

/// Added to the errno of a step in the child, to distinguish it from an error of the standard library's fork.
const IN_CHILD: i32 = 1 << 16;

/// Creates a child, and returns when it has executed its program.
pub(crate) fn fork(
    image: Image,
    inherited: InheritedState,
    stdio: [BorrowedFd<'_>; 3],
) -> Result<Pid, SpawnError> {
    let plan = Arc::new(ExecPlan::new(image, inherited, stdio));
    let mut command = command(Arc::clone(&plan));
    // The child inherits the mask, so that no handler of this process runs in it.
    let signals = BlockedSignals::new();
    let spawned = command.spawn();
    drop(signals);
    drop(command);
    match spawned {
        Ok(child) => Ok(Pid::from_child(&child)),
        Err(error) => Err(failure(error, plan)),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where this is used, posix_spawn may not work either, since it shares memory"
)]
fn command(plan: Arc<ExecPlan>) -> Command {
    // Never executed: the plan has the program. Standard streams are inherited, and replaced by the plan.
    let mut command = Command::new("/");
    // SAFETY: the closure only makes system calls. It allocates nothing and takes no lock that another thread may have
    // held during the fork.
    unsafe {
        command.pre_exec(move || {
            let Err::<Infallible, _>(errno) =
                child::execute(&plan, false, OtherDescriptors::CloseOnExec, || ());
            Err(io::Error::from_raw_os_error(errno.into_raw() + IN_CHILD))
        });
    }
    command
}

/// Distinguishes a failed fork from a failed exec.
fn failure(error: io::Error, plan: Arc<ExecPlan>) -> SpawnError {
    let errno = error.raw_os_error().and_then(|raw| raw.checked_sub(IN_CHILD));
    match (errno, Arc::into_inner(plan)) {
        (Some(errno @ 1..), Some(plan)) => SpawnError::NotExecuted {
            errno: Errno::from_raw_os_error(errno),
            image: Box::new(plan.image),
        },
        _ => SpawnError::NotCreated(error),
    }
}
