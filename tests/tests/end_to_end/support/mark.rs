//! Finds the processes of one test, including grandchildren and orphans, by a variable in their environment.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::poll;

/// A random environment variable of the processes of one test. Surviving processes with it are killed on drop.
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(format!("MARK_OF_A_TEST={:032x}", rand::random::<u128>()))
    }

    /// `NAME=VALUE`.
    pub(crate) fn variable(&self) -> &str {
        &self.0
    }

    /// The running processes with this variable. A zombie has no environment.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Fails if the process has ended or belongs to another user.
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

    /// Waits until this many processes have the variable.
    pub(crate) fn await_processes(&self, count: usize) {
        poll("the command runs", || {
            (self.processes().len() == count).then_some(())
        });
    }

    /// Waits until no process has the variable.
    pub(crate) fn await_gone(&self) {
        poll("all processes of the command have ended", || {
            self.processes().is_empty().then_some(())
        });
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            // Fails if the process has just ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
