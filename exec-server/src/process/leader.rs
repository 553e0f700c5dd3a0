//! The leader of a process group: the child itself, its exit, and signals to its whole group.
//!
//! A pidfd reports the exit, without a signal handler or a thread; where there are no pidfds, SIGCHLD does. The leader
//! is *not* reaped at its exit: while it is a zombie, the kernel cannot give its process id to another process, so its
//! group can still be signalled safely, including descendants that outlive it. It is reaped last, and then the group is
//! never signalled again.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use baton_proto::exec::Signaled;
use baton_proto::exec::exited::Status;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process_group, waitid, waitpid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal;
use tokio::signal::unix::SignalKind;

use super::orphans::OwnChild;

/// The leader of a child process group. Dropping one that was not reaped kills its group.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    watch: ExitWatch,
    reaped: bool,
    /// `None` where no orphans are reaped.
    own: Option<OwnChild>,
}

/// The source of wake-ups for an exit.
#[derive(Debug)]
enum ExitWatch {
    Pidfd(AsyncFd<OwnedFd>),
    /// SIGCHLD, for an exit of any child of this process.
    ChildSignal(signal::unix::Signal),
}

impl Leader {
    /// Takes over a child that leads a process group of its own. On failure it is killed and reaped.
    pub(super) fn new(pid: Pid, pidfd: Option<OwnedFd>, own: Option<OwnChild>) -> io::Result<Self> {
        match ExitWatch::new(pidfd) {
            Ok(watch) => Ok(Self {
                pid,
                watch,
                reaped: false,
                own,
            }),
            Err(error) => {
                // The child was not reaped yet, so the process id is still its own. SIGKILL keeps the wait short.
                let _ = kill_process_group(pid, Signal::KILL);
                reap_by(own.as_ref(), || {
                    let _ = waitpid(Some(pid), WaitOptions::empty());
                });
                Err(error)
            }
        }
    }

    /// Its process id, which is also its group's.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the exit, and leaves a zombie. An error means that other code in this process has reaped it, or that
    /// the runtime shuts down.
    pub(super) fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Status>> {
        match &mut self.watch {
            ExitWatch::Pidfd(pidfd) => loop {
                let mut ready = ready!(pidfd.poll_read_ready(cx))?;
                match exit_of(self.pid)? {
                    Some(status) => return Poll::Ready(Ok(status)),
                    None => ready.clear_ready(),
                }
            },
            ExitWatch::ChildSignal(signal) => loop {
                if let Some(status) = exit_of(self.pid)? {
                    return Poll::Ready(Ok(status));
                }
                // A signal since the check is not lost: it is received here.
                if ready!(signal.poll_recv(cx)).is_none() {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
            },
        }
    }

    pub(super) fn is_reaped(&self) -> bool {
        self.reaped
    }

    /// Signals the whole group; does nothing once the leader is reaped. A group that is already gone is no error.
    pub(super) fn signal_group(&self, signal: Signal) {
        if !self.reaped {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Reaps the leader, which has exited. From here on its process id may belong to another process.
    pub(super) fn reap(&mut self) {
        if !self.reaped {
            self.reaped = true;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            reap_by(self.own.as_ref(), || {
                let _ = waitid(WaitId::Pid(self.pid), options);
            });
        }
    }
}

impl Drop for Leader {
    /// Only if the runtime ends without a shutdown of the process table is the leader not reaped here. Then this kills
    /// its group.
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
        self.reap();
    }
}

impl ExitWatch {
    #[expect(
        deprecated,
        reason = "it is deprecated for types whose descriptor may change, unlike an OwnedFd; its successor is unsafe"
    )]
    fn new(pidfd: Option<OwnedFd>) -> io::Result<Self> {
        match pidfd {
            Some(pidfd) => AsyncFd::with_interest(pidfd, Interest::READABLE).map(Self::Pidfd),
            None => signal::unix::signal(SignalKind::child()).map(Self::ChildSignal),
        }
    }
}

/// Calls `reap`, which reaps this child.
fn reap_by(own: Option<&OwnChild>, reap: impl FnOnce()) {
    match own {
        Some(own) => own.reap(reap),
        None => reap(),
    }
}

/// The status of this child if it has exited. It stays a zombie. This waits by process id, since Linux before 5.4 and
/// some sandboxes do not wait by pidfd; a child that has not been reaped keeps its process id.
fn exit_of(pid: Pid) -> io::Result<Option<Status>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(pid), options)?.as_ref().map(translate))
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    fn start(script: &str) -> Pid {
        let mut command = Command::new("sh");
        let child = command.args(["-c", script]).process_group(0).spawn();
        Pid::from_child(&child.unwrap())
    }

    fn leader(script: &str, has_pidfd: bool) -> Leader {
        let pid = start(script);
        let pidfd = has_pidfd.then(|| pidfd_open(pid, PidfdFlags::empty()).unwrap());
        Leader::new(pid, pidfd, None).unwrap()
    }

    async fn exit(leader: &mut Leader) -> Status {
        let exit = poll_fn(|cx| leader.poll_exit(cx));
        let exit = tokio::time::timeout(Duration::from_secs(30), exit).await;
        exit.expect("the exit is never observed").unwrap()
    }

    #[tokio::test]
    async fn exits_are_seen_with_and_without_pidfds_and_leave_a_zombie() {
        for has_pidfd in [true, false] {
            let mut leaders: Vec<_> = (0..20)
                .map(|code| leader(&format!("sleep 0.0{code}; exit {code}"), has_pidfd))
                .collect();
            for (code, leader) in leaders.iter_mut().enumerate().rev() {
                let status = exit(leader).await;
                assert_eq!(status, Status::Code(code as i32), "pidfd: {has_pidfd}");
                assert_eq!(exit(leader).await, status, "it is a zombie");
                leader.reap();
            }
        }
    }

    #[tokio::test]
    async fn an_exit_before_the_watch_is_observed_without_a_pidfd() {
        let pid = start("exit 7");
        while exit_of(pid).unwrap().is_none() {
            std::thread::yield_now();
        }
        let mut leader = Leader::new(pid, None, None).unwrap();
        assert_eq!(exit(&mut leader).await, Status::Code(7));
    }
}
