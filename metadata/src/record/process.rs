//! The record of a process, as parts that become known one after the other.

use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;

use baton_proto::Epoch;
use baton_trace::family::FamilySummary;
use baton_trace::outcome::{Outcome, OutcomeKind};
use baton_trace::stage::StageId;

use super::{Argv, ProcessKey};

/// A change of the record of one process. A part that is `None` (or 0) changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPatch {
    /// The process.
    pub key: ProcessKey,
    /// Its accepted start: the first part, before the spawn.
    pub start: Option<Arc<ProcessStart>>,
    /// Its spawn.
    pub spawned: Option<ProcessSpawned>,
    /// Highest `seq` given to one of its events; 0 before the first.
    pub last_seq: u64,
    /// Its end, or why it was not started.
    pub end: Option<ProcessEnd>,
}

/// A start that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStart {
    /// The epoch that it was accepted in.
    pub epoch: Epoch,
    /// The boot of the host (`/proc/sys/kernel/random/boot_id`): a pid is valid within one boot only.
    pub boot_id: [u8; 16],
    /// The caller's thread that it belongs to.
    pub thread_id: Option<Arc<str>>,
    /// The turn of the caller's loop that it belongs to, at most [`TURN_MAX`](baton_proto::limits::TURN_MAX); a larger
    /// one is omitted when it is accepted.
    pub turn: Option<NonZeroU64>,
    /// The step of that turn: not empty, at most [`STEP_ID_BYTES`](crate::limits::STEP_ID_BYTES).
    pub step: Option<Box<str>>,
    /// The command, truncated to [`ARGV_BYTES`](crate::limits::ARGV_BYTES) when it is accepted.
    pub argv: Argv,
    /// Whether arguments were truncated or omitted.
    pub argv_cut: bool,
    /// Working directory as requested; empty means the server's.
    pub cwd: Box<[u8]>,
    /// When the start was accepted.
    pub accepted_unix_ns: u64,
    /// Whether it was started to outlive the server.
    pub detached: bool,
    /// Digest of everything that distinguishes this start from another one of the same id, so that a repeated start is
    /// recognised after a restart too.
    pub parameters: [u8; 32],
    /// The trace that it belongs to.
    pub trace: Option<TraceRef>,
}

/// A reference to a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRef {
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// The sampled flag of the trace.
    pub sampled: bool,
}

/// The spawn of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSpawned {
    /// Its pid, which is also its process group's id.
    pub os_pid: u32,
    /// Its start time in clock ticks after the boot (field 22 of `/proc/PID/stat`), or up to
    /// [`START_TICKS_SLACK`](crate::limits::START_TICKS_SLACK) later. With boot id and pid it identifies one process.
    pub start_ticks: u64,
    /// Its start time by the wall clock.
    pub spawned_unix_ns: u64,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How it ended. A loss is always one of the server: the others only a client observes.
    pub outcome: Outcome,
    /// A sentence: why it could not be started, or what killed it. Truncated to
    /// [`MESSAGE_BYTES`](crate::limits::MESSAGE_BYTES).
    pub message: Option<Box<str>>,
    /// When the exit was observed.
    pub ended_unix_ns: u64,
    /// Bytes it wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes it wrote to stderr.
    pub stderr_bytes: u64,
    /// What the family of its start measured.
    pub family: Option<FamilySummary>,
    /// Its measured stages.
    pub timings: Option<Timings>,
}

/// The measured stages of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// The server's stages, encoded; omitted if they exceed [`TIMINGS_BYTES`](crate::limits::TIMINGS_BYTES).
    pub encoded: Arc<[u8]>,
    /// The longest stage that covers time.
    pub slowest: Option<SlowestStage>,
}

/// The stage that took longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowestStage {
    /// The stage.
    pub stage: StageId,
    /// Its duration in nanoseconds.
    pub duration_ns: u64,
}

impl ProcessPatch {
    /// A patch without parts.
    pub fn new(key: ProcessKey) -> Self {
        Self {
            key,
            start: None,
            spawned: None,
            last_seq: 0,
            end: None,
        }
    }

    /// Whether the process has ended. The record of a running process is never given up.
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// Merges a later patch. The later value of each part counts, except that an observed end is never replaced by a
    /// lost one. A start replaces everything: a refused start may be repeated, and its end does not apply to the new
    /// process.
    pub fn merge(&mut self, later: Self) {
        debug_assert_eq!(self.key, later.key);
        if later.start.is_some() {
            *self = later;
            return;
        }
        if later.spawned.is_some() {
            self.spawned = later.spawned;
        }
        self.last_seq = self.last_seq.max(later.last_seq);
        let is_lost = |end: &ProcessEnd| end.outcome.kind() == OutcomeKind::Lost;
        let seen = self.end.as_ref().is_some_and(|end| !is_lost(end));
        if let Some(end) = later.end
            && !(seen && is_lost(&end))
        {
            self.end = Some(end);
        }
    }

    /// Size in memory, in bytes, its allocations included.
    pub fn size(&self) -> usize {
        let start = self.start.as_ref().map_or(0, |start| {
            // An allocation has some 16 bytes of its own.
            let argv = start.argv.allocated() + 16;
            let thread_id = start.thread_id.as_ref().map_or(0, |id| id.len() + 16);
            let step = start.step.as_ref().map_or(0, |step| step.len() + 16);
            mem::size_of::<ProcessStart>() + 32 + argv + start.cwd.len() + thread_id + step
        });
        let end = self.end.as_ref().map_or(0, |end| {
            let timings = end
                .timings
                .as_ref()
                .map_or(0, |timings| timings.encoded.len() + 32);
            end.message.as_ref().map_or(0, |message| message.len() + 16) + timings
        });
        mem::size_of::<Self>() + start + end
    }
}
