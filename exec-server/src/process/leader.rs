//! The leader of a process group: the child itself, its exit, and signals to its whole group.
//!
//! The exit is learned from a pidfd, without a signal handler or a thread, and the leader is *not* reaped then: as long
//! as it is a zombie its number cannot be given to another process, so its group can still be signalled safely,
//! descendants that outlived it included. Reaping is the last thing that happens to it; after that the group is never
//! signalled again.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::task::{Context, Poll, ready};

use baton_proto::exec::Signaled;
use baton_proto::exec::exited::Status;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process_group, waitid, waitpid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The leader of a process group of ours. Dropping one that was not reaped kills its group.
#[derive(Debug)]
pub struct Leader {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    reaped: bool,
}

impl Leader {
    /// Takes over a child that leads a process group of its own. On failure it is killed and reaped.
    pub(super) fn new(pid: Pid, pidfd: OwnedFd) -> io::Result<Self> {
        match watch(pidfd) {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd,
                reaped: false,
            }),
            Err(error) => {
                // Not waited for yet, so the number is still the child's. SIGKILL keeps the wait short.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(error)
            }
        }
    }

    /// Its process id, which is its group's too.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the exit, and leaves a zombie. An error means that its status was taken by somebody else in this
    /// process, or that the runtime is ending.
    pub(super) fn poll_exit(&self, cx: &mut Context<'_>) -> Poll<io::Result<Status>> {
        loop {
            let mut ready = ready!(self.pidfd.poll_read_ready(cx))?;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(Some(status)) => return Poll::Ready(Ok(translate(&status))),
                Ok(None) | Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Signals the whole group; does nothing once the leader is reaped. A group that is already gone is no error.
    pub(super) fn signal_group(&self, signal: Signal) {
        if !self.reaped {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Lets the kernel forget the leader, which has exited. From here on its number may be somebody else's.
    pub(super) fn reap(&mut self) {
        if !self.reaped {
            self.reaped = true;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
        }
    }
}

impl Drop for Leader {
    /// Only a runtime that ends without a shutdown of the process table comes here unreaped: the last chance to leave
    /// nothing running.
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
        self.reap();
    }
}

#[expect(
    deprecated,
    reason = "it is deprecated for types whose descriptor can change, which an OwnedFd's cannot; its successor is unsafe"
)]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

fn translate(status: &WaitIdStatus) -> Status {
    match status.terminating_signal() {
        Some(signal) => Status::Signaled(Signaled {
            signal,
            core_dumped: status.dumped(),
        }),
        None => Status::Code(status.exit_status().unwrap_or_default()),
    }
}
