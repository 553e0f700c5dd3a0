//! Finds what belongs to trees of processes, and decides what is done to it. No clock; processes are seen through
//! [`Processes`].
//!
//! One pass looks at every process once, for all trees that are swept at the time. A tree is killed in this order:
//!
//! 1. Freeze: each pass stops (SIGSTOP) what it finds, until one finds nothing new. A stopped process creates no others,
//!    does not react to the end of another, and remains the parent of its children, which may have no mark.
//! 2. Kill: the further passes send SIGKILL to everything that they find.
//! 3. Two passes in a row that find nothing end the sweep: a process can escape one of them, if it is created behind the
//!    place that the pass has reached.
//!
//! A tree with a cgroup begins with a kill of the whole cgroup. What is found after that has left the cgroup, or is being
//! ended by the kernel.
//!
//! A tree whose process is over has some time to end by itself. Until then a pass only looks.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::Signal;

use super::mark::Mark;
use super::procfs::{Environment, ProcessStat, Processes};
use crate::limits::{EMPTY_ENVIRONMENT_LOOKS, FREEZE_PASSES, SWEEP_LOOK_EVERY, SWEEP_PAUSE, SWEEP_TIMEOUT};

/// What a sweep is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Send SIGTERM to the descendants outside of the process group, once.
    Terminate,
    /// Kill all that is left at this time.
    Kill {
        /// Before that, the sweep ends if nothing is left.
        at: Instant,
    },
}

/// A tree, and what is to be done to it.
#[derive(Debug)]
pub(super) struct SweptTree<C> {
    pub(super) order: Order,
    pub(super) mark: Mark,
    /// The pid of its leader, which is not reaped: its process group and its session have this number, and no others.
    pub(super) leader: u32,
    /// What all its processes are in; `None` without cgroups.
    pub(super) cgroup: Option<C>,
}

/// The sweep of one tree.
#[derive(Debug)]
pub(super) struct Sweep<C> {
    tree: SweptTree<C>,
    is_cgroup_killed: bool,
    /// When the leader started. Every descendant started then or later.
    since: u64,
    deadline: Instant,
    frozen: HashSet<Identity>,
    /// Those that may not be signalled.
    denied: HashSet<Identity>,
    freezes: u32,
    /// Passes in a row that have found nothing.
    quiet: u32,
}

/// Pid and start time.
type Identity = (u32, u64);

/// What follows a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Another pass at this time.
    Again { at: Instant },
    Done {
        /// Descendants that were seen and could not be killed.
        survivors: u32,
    },
}

/// The result of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Delivered,
    /// The process has ended.
    Gone,
    Denied,
}

impl<C> Sweep<C> {
    pub(super) fn new(tree: SweptTree<C>, since: u64, now: Instant) -> Self {
        let from = match tree.order {
            Order::Terminate => now,
            Order::Kill { at } => at.max(now),
        };
        Self {
            tree,
            is_cgroup_killed: false,
            since,
            deadline: from + SWEEP_TIMEOUT,
            frozen: HashSet::new(),
            denied: HashSet::new(),
            freezes: 0,
            quiet: 0,
        }
    }

    /// Does what this pass is for to the members of the tree.
    fn pass<P: Processes<Cgroup = C>>(
        &mut self,
        Members { listed, is_certain }: &Members,
        processes: &mut P,
        now: Instant,
    ) -> Step {
        let Order::Kill { at } = self.tree.order else {
            for member in listed.iter().filter(|member| member.group != self.tree.leader) {
                signal(processes, member, Signal::TERM);
            }
            return Step::Done { survivors: 0 };
        };
        let (denied, members): (Vec<_>, Vec<_>) = listed
            .iter()
            .partition(|member| self.denied.contains(&identity(member)));
        if now >= at
            && !self.is_cgroup_killed
            && let Some(cgroup) = &self.tree.cgroup
        {
            self.is_cgroup_killed = true;
            processes.kill_all(cgroup);
            if !members.is_empty() {
                return Step::Again {
                    at: now + SWEEP_PAUSE,
                };
            }
        }
        if members.is_empty() && !*is_certain && now < self.deadline {
            return Step::Again {
                at: now + SWEEP_PAUSE,
            };
        }
        if members.is_empty() {
            self.quiet += 1;
            return match self.quiet {
                2.. => done(denied.len()),
                _ => Step::Again { at: now },
            };
        }
        self.quiet = 0;
        if now < at {
            return Step::Again {
                at: at.min(now + SWEEP_LOOK_EVERY),
            };
        }
        let is_late = now >= self.deadline;
        let news: Vec<_> = members
            .iter()
            .filter(|member| !self.frozen.contains(&identity(member)))
            .collect();
        if !news.is_empty() && self.freezes < FREEZE_PASSES && !is_late {
            self.freezes += 1;
            for member in news {
                match signal(processes, member, Signal::STOP) {
                    Sent::Delivered => drop(self.frozen.insert(identity(member))),
                    Sent::Denied => drop(self.denied.insert(identity(member))),
                    Sent::Gone => {}
                }
            }
            return Step::Again { at: now };
        }
        for member in &members {
            if signal(processes, member, Signal::KILL) == Sent::Denied {
                self.denied.insert(identity(member));
            }
        }
        match is_late {
            true => done(denied.len() + members.len()),
            false => Step::Again {
                at: now + SWEEP_PAUSE,
            },
        }
    }
}

fn done(survivors: usize) -> Step {
    Step::Done {
        survivors: u32::try_from(survivors).unwrap_or(u32::MAX),
    }
}

fn identity(process: &ProcessStat) -> Identity {
    (process.pid, process.started)
}

/// Sends a signal to this process, and to no other one that has got its pid since.
///
/// The handle comes first. If the signal through it finds its process, that process has had the pid all the time, also
/// when its start time was compared.
fn signal<P: Processes>(processes: &mut P, process: &ProcessStat, signal: Signal) -> Sent {
    let handle = match processes.open(process.pid) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Sent::Gone,
        Err(_) => return Sent::Denied,
    };
    let is_the_same = processes
        .look(process.pid)
        .is_some_and(|now| now.started == process.started);
    if !is_the_same {
        return Sent::Gone;
    }
    match processes.send(&handle, signal) {
        Ok(()) => Sent::Delivered,
        Err(Errno::SRCH) => Sent::Gone,
        Err(_) => Sent::Denied,
    }
}

/// The trees that are swept, and what is known of other processes.
#[derive(Debug)]
pub(super) struct Sweeps<P: Processes, T> {
    processes: P,
    /// `T` is the caller's.
    trees: Vec<(Sweep<P::Cgroup>, T)>,
    /// Processes whose environment has no mark of these trees. It gets none later: a mark is inherited, or in the first
    /// environment of a process that has just been created, which is the leader.
    strangers: HashSet<Identity>,
    /// How often the environment of a process was empty.
    empty: HashMap<Identity, u32>,
}

impl<P: Processes, T> Sweeps<P, T> {
    pub(super) fn new(processes: P) -> Self {
        Self {
            processes,
            trees: Vec::new(),
            strangers: HashSet::new(),
            empty: HashMap::new(),
        }
    }

    /// Sweeps this tree too. Its leader must not be reaped until that is done.
    pub(super) fn add(&mut self, tree: SweptTree<P::Cgroup>, now: Instant, task: T) {
        let leader = self.processes.look(tree.leader);
        let since = leader.map_or(0, |leader| leader.started);
        self.strangers.clear();
        self.trees.push((Sweep::new(tree, since, now), task));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// One pass. Calls `done` with the number of survivors for each tree that is done. Returns when the next pass is due.
    pub(super) fn pass(&mut self, now: Instant, mut done: impl FnMut(T, u32)) -> Option<Instant> {
        let of_trees = match self.processes.list() {
            Ok(list) => self.members(&list),
            // No free descriptor, or no memory.
            Err(_) => {
                for (_, task) in self.trees.extract_if(.., |(tree, _)| tree.deadline <= now) {
                    done(task, 0);
                }
                return (!self.trees.is_empty()).then(|| now + SWEEP_PAUSE);
            }
        };
        let mut next: Option<Instant> = None;
        let trees = std::mem::take(&mut self.trees);
        for ((mut tree, task), members) in trees.into_iter().zip(of_trees) {
            match tree.pass(&members, &mut self.processes, now) {
                Step::Again { at } => {
                    next = Some(next.map_or(at, |next| next.min(at)));
                    self.trees.push((tree, task));
                }
                Step::Done { survivors } => done(task, survivors),
            }
        }
        next
    }

    /// In the order of the trees.
    fn members(&mut self, list: &[ProcessStat]) -> Vec<Members> {
        let leaders: HashMap<u32, usize> = self.numbered(|tree| tree.leader);
        let marks: HashMap<Mark, usize> = self.numbered(|tree| tree.mark);
        // Behind the list: who is in a cgroup now under a pid of the list was there when its process was listed, or the
        // signal finds another process.
        let in_cgroups = self.in_cgroups();
        let since = self.trees.iter().map(|(tree, _)| tree.since).min();
        let since = since.unwrap_or(u64::MAX);
        let own = std::process::id();
        let candidates: HashMap<u32, &ProcessStat> = list
            .iter()
            .filter(|process| !process.is_zombie && process.started >= since && process.pid != own)
            .map(|process| (process.pid, process))
            .collect();
        let mut is_certain = true;
        let mut found: HashMap<u32, usize> = HashMap::new();
        for process in candidates.values() {
            let by_number = leaders
                .get(&process.group)
                .or_else(|| leaders.get(&process.session))
                .or_else(|| leaders.get(&process.pid))
                .or_else(|| in_cgroups.get(&process.pid));
            let tree = by_number.copied().or_else(|| {
                let environment = self.environment(process);
                is_certain &= environment != Environment::Empty;
                match environment {
                    Environment::Marked(mark) => marks.get(&mark).copied(),
                    Environment::Unmarked | Environment::Empty => None,
                }
            });
            found.extend(tree.map(|tree| (process.pid, tree)));
        }
        // Children, their children, and so on.
        let mut others: Vec<_> = candidates
            .values()
            .filter(|process| !found.contains_key(&process.pid))
            .collect();
        loop {
            let before = others.len();
            others.retain(|process| {
                let parent = candidates.get(&process.parent);
                let of_parent = parent.and_then(|parent| Some((*parent, *found.get(&parent.pid)?)));
                match of_parent {
                    Some((parent, tree)) if self.is_child(process, parent) => {
                        found.insert(process.pid, tree);
                        false
                    }
                    Some(_) | None => true,
                }
            });
            if others.len() == before {
                break;
            }
        }
        let nothing = Members {
            listed: Vec::new(),
            is_certain,
        };
        let mut of_trees = vec![nothing; self.trees.len()];
        for (pid, tree) in found {
            if let (Some(members), Some(process)) = (of_trees.get_mut(tree), candidates.get(&pid)) {
                members.listed.push(**process);
            }
        }
        let listed: HashSet<u32> = list.iter().map(|process| process.pid).collect();
        // Processes that were created since the list.
        for (_, tree) in in_cgroups.iter().filter(|(pid, _)| !listed.contains(pid)) {
            if let Some(members) = of_trees.get_mut(*tree) {
                members.is_certain = false;
            }
        }
        of_trees
    }

    fn numbered<K: std::hash::Hash + Eq>(
        &self,
        key: impl Fn(&SweptTree<P::Cgroup>) -> K,
    ) -> HashMap<K, usize> {
        let trees = self.trees.iter().enumerate();
        trees
            .map(|(number, (sweep, _))| (key(&sweep.tree), number))
            .collect()
    }

    /// The pids in the cgroups of the trees.
    fn in_cgroups(&mut self) -> HashMap<u32, usize> {
        let mut found = HashMap::new();
        for (number, (sweep, _)) in self.trees.iter().enumerate() {
            if let Some(cgroup) = &sweep.tree.cgroup {
                let members = self.processes.members(cgroup).into_iter();
                found.extend(members.map(|pid| (pid, number)));
            }
        }
        found
    }

    /// The environment of a process, which is read only as long as it may have a mark of these trees.
    fn environment(&mut self, process: &ProcessStat) -> Environment {
        if self.strangers.contains(&identity(process)) {
            return Environment::Unmarked;
        }
        let environment = self.processes.environment(process.pid);
        let is_stranger = match environment {
            Environment::Marked(mark) => !self.trees.iter().any(|(sweep, _)| sweep.tree.mark == mark),
            Environment::Unmarked => true,
            Environment::Empty => {
                let looks = self.empty.entry(identity(process)).or_default();
                *looks += 1;
                *looks >= EMPTY_ENVIRONMENT_LOOKS
            }
        };
        if is_stranger {
            self.strangers.insert(identity(process));
        }
        environment
    }

    /// Whether `parent` is the parent of `process`, and not another process that has had the same pid: the parent is
    /// older, and still there after its child was looked at.
    fn is_child(&mut self, process: &ProcessStat, parent: &ProcessStat) -> bool {
        let still = self.processes.look(parent.pid);
        process.started >= parent.started && still.is_some_and(|still| identity(&still) == identity(parent))
    }
}

/// The processes of a tree, in one look at all processes.
#[derive(Debug, Clone)]
struct Members {
    listed: Vec<ProcessStat>,
    /// Every environment was there, which a process in the middle of execve(2) does not have, and everything in the cgroup
    /// was listed.
    is_certain: bool,
}

#[cfg(test)]
mod tests;
