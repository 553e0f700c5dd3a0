//! What is written in one transaction.

use crate::record::{ProcessPatch, ThreadPatch};

/// Patches to be committed together: of each process and each thread at most one. Order does not matter, except that threads and
/// processes do not depend on each other either: a process may name a thread that is not known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Of processes.
    pub processes: Vec<ProcessPatch>,
    /// Of threads.
    pub threads: Vec<ThreadPatch>,
}

impl Batch {
    /// Number of patches.
    pub fn len(&self) -> usize {
        self.processes.len() + self.threads.len()
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.threads.is_empty()
    }
}
