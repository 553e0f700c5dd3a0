//! What is known of processes and threads, as patches.
//!
//! Nothing is ever written whole: every [`Update`] is a patch of one process or one thread, and two patches of the same one merge into
//! one that does what both would have done in turn. So the queue in front of a slow disk holds one patch a process and a thread, and a
//! store writes each as one upsert.
//!
//! Times are nanoseconds since the Unix epoch, by this machine's clock. argv, cwd and values stay on this machine: they are never
//! part of telemetry.

mod argv;
mod check;
mod process;
mod thread;

use std::fmt;
use std::sync::Arc;

use baton_proto::ProcessId;

pub use argv::Argv;
pub(crate) use check::check;
pub use process::{
    KilledStatus, Outcome, ProcessEnd, ProcessPatch, ProcessSpawned, ProcessStart, SlowestStage, Timings,
    TraceRef,
};
pub use thread::{CwdFacts, ThreadPatch};

/// Whose it is: the Noise static public key of the client, in bytes. Every id is scoped to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub [u8; 32]);

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Owner({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Names a process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Whose it is.
    pub owner: Owner,
    /// The id that the client chose.
    pub process_id: ProcessId,
}

/// Names a thread: a caller's conversation or job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadKey {
    /// Whose it is.
    pub owner: Owner,
    /// The name that the client chose; at most [`THREAD_ID_BYTES`](crate::limits::THREAD_ID_BYTES), not empty.
    pub thread_id: Arc<str>,
}

/// Something that happened and shall be on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// To a process.
    Process(ProcessPatch),
    /// To a thread.
    Thread(ThreadPatch),
}

impl Update {
    /// Whose process or thread it is.
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
