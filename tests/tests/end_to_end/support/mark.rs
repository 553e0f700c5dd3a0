//! Finds the processes of one test, grandchildren and strays included, by a variable in their environment.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::poll;

/// A random variable that processes of one test carry. Whatever still carries it is killed when this is dropped.
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(format!("MARK_OF_A_TEST={:032x}", rand::random::<u128>()))
    }

    /// `NAME=VALUE`.
    pub(crate) fn variable(&self) -> &str {
        &self.0
    }

    /// The living processes that carry it. A zombie has no environment any more.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // It may be gone by now, or somebody else's.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == self.0.as_bytes())
            {
                pids.push(pid);
            }
        }
        pids
    }

    /// Waits until so many carry it.
    pub(crate) fn await_processes(&self, count: usize) {
        poll("the command runs", || {
            (self.processes().len() == count).then_some(())
        });
    }

    /// Waits until none does.
    pub(crate) fn await_gone(&self) {
        poll("nothing is left of the command", || {
            self.processes().is_empty().then_some(())
        });
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
