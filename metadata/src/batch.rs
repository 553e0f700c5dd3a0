//! The patches of one transaction.

use crate::record::{ProcessPatch, ThreadPatch};

/// Patches to be committed together: at most one of each process and each thread. Their order does not matter. A
/// process may name a thread that is not known yet.
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

    /// Whether there are no patches.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.threads.is_empty()
    }
}
