//! Records of processes and metadata of threads, as patches.
//!
//! Every [`Update`] is a patch of one process or one thread, and two patches of the same one merge into a patch with
//! the effect of both in order. So the queue in front of a slow disk holds one patch a process and a thread, and a
//! store writes each as one upsert.
//!
//! Times are nanoseconds since the Unix epoch, by this host's clock. Arguments, working directories and values stay on
//! this host: they are never part of telemetry.

mod argv;
mod check;
mod process;
mod thread;

use std::fmt;
use std::sync::Arc;

use baton_proto::ProcessId;

pub use argv::Argv;
pub(crate) use check::check;
pub use process::{ProcessEnd, ProcessPatch, ProcessSpawned, ProcessStart, SlowestStage, Timings, TraceRef};
pub use thread::{CwdFacts, ThreadPatch};

/// The client that a record or thread belongs to: its Noise static public key. Every id is scoped to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub [u8; 32]);

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Owner({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Identifies a process permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// The client that it belongs to.
    pub owner: Owner,
    /// The id that the client chose.
    pub process_id: ProcessId,
}

/// Identifies a thread: a caller's conversation or job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadKey {
    /// The client that it belongs to.
    pub owner: Owner,
    /// The id that the client chose: not empty, at most [`THREAD_ID_BYTES`](crate::limits::THREAD_ID_BYTES).
    pub thread_id: Arc<str>,
}

/// A change to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Of a process.
    Process(ProcessPatch),
    /// Of a thread.
    Thread(ThreadPatch),
}

impl Update {
    /// The client that the process or thread belongs to.
    pub fn owner(&self) -> Owner {
        match self {
            Self::Process(patch) => patch.key.owner,
            Self::Thread(patch) => patch.key.owner,
        }
    }
}

impl From<ProcessPatch> for Update {
    fn from(patch: ProcessPatch) -> Self {
        Self::Process(patch)
    }
}

impl From<ThreadPatch> for Update {
    fn from(patch: ThreadPatch) -> Self {
        Self::Thread(patch)
    }
}
