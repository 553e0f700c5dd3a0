//! The record of a process, in the parts that become known one after the other.

use std::mem;
use std::sync::Arc;

use baton_proto::Epoch;
use baton_trace::call_end::CallEnd;
use baton_trace::command;
use baton_trace::stage::StageId;

use super::{Argv, ProcessKey};

/// What has become known of one process. A part that is `None` (or 0) says nothing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPatch {
    /// Which one.
    pub key: ProcessKey,
    /// Its start was accepted. Comes first, before the spawn.
    pub start: Option<Arc<ProcessStart>>,
    /// It runs.
    pub spawned: Option<ProcessSpawned>,
    /// Highest `seq` given to one of its events; 0 before the first.
    pub last_seq: u64,
    /// It is over, or never began.
    pub end: Option<ProcessEnd>,
}

/// A start that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStart {
    /// The life of the server that it was accepted in.
    pub epoch: Epoch,
    /// The boot of the machine (`/proc/sys/kernel/random/boot_id`): a pid means nothing in another one.
    pub boot_id: [u8; 16],
    /// The caller's thread that it belongs to.
    pub thread_id: Option<Arc<str>>,
    /// The command. Cut to [`ARGV_BYTES`](crate::limits::ARGV_BYTES) in all when it is accepted.
    pub argv: Argv,
    /// Arguments were cut or left out of [`argv`](Self::argv).
    pub argv_cut: bool,
    /// Working directory as asked for; empty means the server's.
    pub cwd: Box<[u8]>,
    /// When the start was accepted.
    pub accepted_unix_ns: u64,
    /// It was asked to outlive the server.
    pub detached: bool,
    /// Digest of everything that tells this start from another one of the same id, so that a repeated start is known for one after a
    /// restart too.
    pub parameters: [u8; 32],
    /// The trace that it is part of.
    pub trace: Option<TraceRef>,
}

/// A trace, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRef {
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// Somebody was asked to record it.
    pub sampled: bool,
}

/// A process that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSpawned {
    /// Its pid, which is its process group's too.
    pub os_pid: u32,
    /// When it was made, in clock ticks after the boot (field 22 of `/proc/PID/stat`), or up to
    /// [`START_TICKS_SLACK`](crate::limits::START_TICKS_SLACK) later: with boot id and pid this names it for certain.
    pub start_ticks: u64,
    /// When it was made, by the wall clock.
    pub spawned_unix_ns: u64,
}

/// A process that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How.
    pub outcome: Outcome,
    /// What went wrong, in a few words, where the outcome alone does not say it: why it could not be started, who killed it. Cut to
    /// [`FAULT_BYTES`](crate::limits::FAULT_BYTES).
    pub fault: Option<Box<str>>,
    /// Why its call was cut short, where the process was killed for that.
    pub call_end: Option<CallEnd>,
    /// When the exit was seen.
    pub ended_unix_ns: u64,
    /// Bytes it wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes it wrote to stderr.
    pub stderr_bytes: u64,
    /// Where the time went.
    pub timings: Option<Timings>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with an exit status of 0 to 255.
    Exited {
        /// The status.
        code: i32,
    },
    /// By a signal that was not ours.
    Signaled {
        /// Its number on this machine.
        signal: i32,
        /// A core was dumped.
        core_dumped: bool,
    },
    /// Its time was up, and it was killed.
    TimedOut {
        /// The signal that ended it, or the exit status that it answered the first signal with.
        status: KilledStatus,
    },
    /// It was killed: by its caller, or because its caller or the server went away.
    Killed {
        /// The signal that ended it, or the exit status that it answered the first signal with.
        status: KilledStatus,
    },
    /// It never ran; the fault says why.
    FailedToStart,
    /// The server ended before it did, and nobody saw its end.
    Lost,
}

/// What is left of a process that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KilledStatus {
    /// It caught the signal and exited.
    Exited(i32),
    /// The signal ended it.
    Signaled(i32),
}

impl Outcome {
    /// Its word, which telemetry and the history share.
    pub fn kind(&self) -> command::Outcome {
        match self {
            Self::Exited { .. } => command::Outcome::Exited,
            Self::Signaled { .. } => command::Outcome::Signaled,
            Self::TimedOut { .. } => command::Outcome::TimedOut,
            Self::Killed { .. } => command::Outcome::Killed,
            Self::FailedToStart => command::Outcome::FailedToStart,
            Self::Lost => command::Outcome::Lost,
        }
    }

    /// Whether `history --failed` shows it: everything but an exit status of 0.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Exited { code: 0 })
    }
}

/// Where the time of a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// The server's stages, encoded by whoever draws them again; at most [`TIMINGS_BYTES`](crate::limits::TIMINGS_BYTES), else left out.
    pub encoded: Arc<[u8]>,
    /// The longest of them that covers time.
    pub slowest: Option<SlowestStage>,
}

/// The stage that took longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowestStage {
    /// Which.
    pub stage: StageId,
    /// How long, in nanoseconds.
    pub duration_ns: u64,
}

impl ProcessPatch {
    /// A patch that says nothing yet.
    pub fn new(key: ProcessKey) -> Self {
        Self {
            key,
            start: None,
            spawned: None,
            last_seq: 0,
            end: None,
        }
    }

    /// Whether the process is over. The record of one that runs is never given up.
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// Adds what became known later. Of each part the later one counts, except that an end that was seen is not made a lost one. A start
    /// begins the record anew: a start that was refused may be repeated, and how the first one ended says nothing of what runs now.
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
        let seen = self.end.as_ref().is_some_and(|end| end.outcome != Outcome::Lost);
        if let Some(end) = later.end
            && !(seen && end.outcome == Outcome::Lost)
        {
            self.end = Some(end);
        }
    }

    /// Memory that it holds, in bytes, itself included.
    pub fn size(&self) -> usize {
        let start = self.start.as_ref().map_or(0, |start| {
            // An allocation has some 16 bytes of its own.
            let argv = start.argv.allocated() + 16;
            let thread_id = start.thread_id.as_ref().map_or(0, |id| id.len() + 16);
            mem::size_of::<ProcessStart>() + 32 + argv + start.cwd.len() + thread_id
        });
        let end = self.end.as_ref().map_or(0, |end| {
            let timings = end
                .timings
                .as_ref()
                .map_or(0, |timings| timings.encoded.len() + 32);
            end.fault.as_ref().map_or(0, |fault| fault.len() + 16) + timings
        });
        mem::size_of::<Self>() + start + end
    }
}
