//! A process with its descendants, and the end of all of them.
//!
//! Signals go to the process group. Descendants may have left it: by `setsid`, by a double fork, as jobs of a shell.
//! When the exec-server kills the process, the `sweeper` therefore looks through /proc, on a thread of its own, for
//! everything that belongs to the tree, and kills it (`sweep`):
//!
//! * the members of the process group and of the session of its leader;
//! * what has the `mark` of the process in its environment, which children inherit;
//! * what is in the cgroup (`crate::cgroup`) of the process, where the exec-server has cgroups;
//! * the children of all these.
//!
//! A cgroup is killed first, and as a whole: nothing that is in it escapes.
//!
//! `procfs` reads /proc and sends the signals. A process that ends by itself is not swept: a daemon that it has left
//! behind goes on.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use baton_proto::exec::exited::Status;
use rustix::process::Signal;
use tokio::sync::oneshot;

use self::sweep::{Order, SweptTree};
use super::backend::ProcessGroup;
use super::leader::Leader;
use crate::cgroup::Cgroup;

mod mark;
mod procfs;
mod sweep;
mod sweeper;

#[cfg(test)]
pub(super) use mark::MARK_VARIABLE;
pub(super) use mark::{Mark, Marks};
pub(super) use procfs::child_zombies;
pub(super) use sweeper::Sweeper;

/// See the [module](self). Dropping one that was not reaped kills its process group and its cgroup; without a cgroup,
/// not those that have left the group.
#[derive(Debug)]
pub struct Tree {
    leader: Leader,
    mark: Mark,
    /// Until the leader is reaped.
    cgroup: Option<Arc<Cgroup>>,
    sweeper: Sweeper,
    kill: TreeKill,
}

#[derive(Debug)]
enum TreeKill {
    /// Not requested.
    Idle,
    Running(oneshot::Receiver<u32>),
    Done {
        survivors: u32,
    },
}

impl Tree {
    /// The descendants of `leader`, in whose environment is `mark`, and which are in `cgroup`.
    pub(super) fn new(leader: Leader, mark: Mark, cgroup: Option<Cgroup>, sweeper: Sweeper) -> Self {
        Self {
            leader,
            mark,
            cgroup: cgroup.map(Arc::new),
            sweeper,
            kill: TreeKill::Idle,
        }
    }

    fn sweep(&self, order: Order) -> oneshot::Receiver<u32> {
        self.sweeper.sweep(SweptTree {
            order,
            mark: self.mark,
            leader: self.leader.pid(),
            cgroup: self.cgroup.clone(),
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.cgroup {
            // What has been removed has no processes.
            let _ = cgroup.kill();
        }
    }
}

impl ProcessGroup for Tree {
    fn pid(&self) -> u32 {
        self.leader.pid()
    }

    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Status>> {
        self.leader.poll_exit(cx)
    }

    fn signal(&mut self, signal: Signal) {
        self.leader.signal_group(signal);
    }

    fn terminate_descendants(&mut self) {
        if !self.leader.is_reaped() {
            self.sweep(Order::Terminate);
        }
    }

    fn kill_descendants(&mut self, at: Instant) {
        if matches!(self.kill, TreeKill::Idle) && !self.leader.is_reaped() {
            self.kill = TreeKill::Running(self.sweep(Order::Kill { at }));
        }
    }

    fn poll_killed(&mut self, cx: &mut Context<'_>) -> Poll<u32> {
        match &mut self.kill {
            TreeKill::Idle => Poll::Ready(0),
            TreeKill::Done { survivors } => Poll::Ready(*survivors),
            TreeKill::Running(swept) => Pin::new(swept).poll(cx).map(|swept| {
                // Without an answer the sweep has failed, and nothing is known of survivors.
                let survivors = swept.unwrap_or(0);
                self.kill = TreeKill::Done { survivors };
                survivors
            }),
        }
    }

    fn is_out_of_memory(&self) -> bool {
        self.cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.is_out_of_memory())
    }

    fn reap(&mut self) {
        self.leader.reap();
        self.cgroup = None;
    }
}
