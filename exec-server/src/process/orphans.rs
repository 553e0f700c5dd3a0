//! Reaps the children of other processes that have become children of this one, because it is the first process of a
//! container, or a subreaper. A zombie keeps its entry in the process table until its parent reaps it.
//!
//! Each is reaped by its pid. To wait for any child would take the exit status of a process from its leader, which keeps
//! a zombie on purpose: see [`super::leader`]. So this process has to know its own children. While one is being created
//! its pid is not known, and nothing is reaped.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError, Weak};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::limits::ORPHANS_EVERY;

/// The children that this process has created and not reaped. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnChildren(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Read while a child is created, written while orphans are reaped.
    creating: RwLock<()>,
    pids: Mutex<HashSet<Pid>>,
}

/// Nothing is reaped while there is one.
#[derive(Debug)]
pub(super) struct Creating<'a> {
    children: &'a OwnChildren,
    _guard: RwLockReadGuard<'a, ()>,
}

/// A child that this process has created, until it is reaped.
#[derive(Debug)]
pub(super) struct OwnChild {
    children: OwnChildren,
    pid: Pid,
}

impl OwnChildren {
    /// Begins to create a child.
    pub(super) fn creating(&self) -> Creating<'_> {
        Creating {
            children: self,
            _guard: self.0.creating.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn pids(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.0.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps orphans until this is dropped, at most every [`ORPHANS_EVERY`] and only when a child has exited. `zombies`
    /// are the children of this process that have exited and are not reaped.
    ///
    /// # Errors
    /// There is no handler for SIGCHLD.
    pub(super) fn reap_others(&self, zombies: fn() -> Vec<Pid>) -> io::Result<()> {
        let mut exits = signal(SignalKind::child())?;
        let children = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            // What has exited before is found by the first look.
            loop {
                let looked = spawn_blocking({
                    let children = children.clone();
                    move || look(&children, zombies)
                });
                match looked.await {
                    Ok(Looked::Gone) | Err(_) => return,
                    Ok(Looked::Busy) => {}
                    Ok(Looked::Reaped) if exits.recv().await.is_none() => return,
                    Ok(Looked::Reaped) => {}
                }
                sleep(ORPHANS_EVERY).await;
            }
        });
        Ok(())
    }

    /// Reaps those of these children that this process has not created.
    fn reap_now(&self, zombies: Vec<Pid>) -> Looked {
        let _creating_none = match self.0.creating.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return Looked::Busy,
        };
        let own = self.pids();
        for pid in zombies.into_iter().filter(|pid| !own.contains(pid)) {
            // Whoever has this pid now is no own child, and is reaped only if it has exited.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        Looked::Reaped
    }
}

/// The result of a look at the children of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Reaped,
    /// A child was being created.
    Busy,
    /// Nobody creates children any more.
    Gone,
}

fn look(children: &Weak<Shared>, zombies: fn() -> Vec<Pid>) -> Looked {
    match children.upgrade() {
        Some(children) => OwnChildren(children).reap_now(zombies()),
        None => Looked::Gone,
    }
}

impl Creating<'_> {
    /// The child was created.
    pub(super) fn created(self, pid: Pid) -> OwnChild {
        self.children.pids().insert(pid);
        OwnChild {
            children: self.children.clone(),
            pid,
        }
    }
}

impl OwnChild {
    /// Reaps it, by calling `reap`. Its pid may belong to another child at once, which is not forgotten.
    pub(super) fn reap(&self, reap: impl FnOnce()) {
        let mut pids = self.children.pids();
        reap();
        pids.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tree::child_zombies;
    use super::*;

    fn is_zombie(pid: Pid) -> bool {
        child_zombies().contains(&pid)
    }

    /// A child that has exited.
    fn zombie() -> Pid {
        let pid = Pid::from_child(&Command::new("true").spawn().unwrap());
        while !is_zombie(pid) {
            std::thread::yield_now();
        }
        pid
    }

    /// In a process of its own, since it would reap children of other tests.
    #[test]
    fn strangers_are_reaped_and_own_children_are_left() {
        const ALONE: &str = "BATON_TEST_REAPS_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let mut alone = Command::new(std::env::current_exe().unwrap());
            let name = "process::orphans::tests::strangers_are_reaped_and_own_children_are_left";
            alone.args(["--exact", name]).env(ALONE, "1");
            return assert!(alone.status().unwrap().success());
        }
        let children = OwnChildren::default();
        let creating = children.creating();
        let pid = zombie();
        assert_eq!(children.reap_now(child_zombies()), Looked::Busy);
        assert!(is_zombie(pid));
        let own = creating.created(pid);
        let stranger = zombie();
        assert_eq!(children.reap_now(child_zombies()), Looked::Reaped);
        assert_eq!((is_zombie(pid), is_zombie(stranger)), (true, false));
        let mut status = None;
        own.reap(|| status = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap());
        assert_eq!(status.and_then(|status| status.exit_status()), Some(0));
        assert!(children.pids().is_empty());
    }
}
