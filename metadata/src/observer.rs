//! Converts the exec-server's events to patches. Called while an event is delivered: copies at most a few KiB and
//! queues them.

use std::sync::Arc;

use baton_exec_server::StartError;
use baton_exec_server::records::{self, Accepted, Measured, Observer, Thread};
use baton_exec_server::termination::{Close, Exit};
use baton_proto::Epoch;
use baton_trace::outcome::Outcome;
use baton_trace::record::StageRecord;
use rustix::time::{ClockId, clock_gettime};

use crate::facts::Facts;
use crate::handle::WriterHandle;
use crate::limits::ARGV_BYTES;
use crate::link::Link;
use crate::record::{
    Argv, Owner, ProcessEnd, ProcessKey, ProcessPatch, ProcessSpawned, ProcessStart, SlowestStage, ThreadKey,
    ThreadPatch, Timings, TraceRef,
};
use crate::store::timings::{self, StageTime};

/// Records the processes that the exec-server runs.
#[derive(Debug)]
pub struct MetadataObserver {
    handle: WriterHandle,
    facts: Arc<Facts>,
    epoch: Epoch,
    boot_id: [u8; 16],
    ticks_per_second: u64,
}

impl MetadataObserver {
    /// For the epoch `epoch`.
    pub(crate) fn new(handle: WriterHandle, facts: Arc<Facts>, epoch: Epoch, boot_id: [u8; 16]) -> Self {
        Self {
            handle,
            facts,
            epoch,
            boot_id,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        }
    }

    fn patch(&self, patch: ProcessPatch, link: Option<Link>) {
        // A refused patch is counted, and every barrier reports it.
        let _ = self.handle.accept_linked(patch, link);
    }

    /// Clock ticks since the boot, as `/proc/PID/stat` counts them. A process that was just created started at most a
    /// few ticks earlier.
    fn ticks(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, ns) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
        seconds * self.ticks_per_second + ns * self.ticks_per_second / 1_000_000_000
    }

    /// Updates the thread of a start: creates it if necessary, marks it as used, which lists it again if it was
    /// archived, and sets what the start says.
    fn thread(&self, process: ProcessKey, thread: &Thread, cwd: &[u8], at_unix_ns: u64) -> Arc<str> {
        let key = ThreadKey {
            owner: process.owner,
            thread_id: thread.id.as_str().into(),
        };
        let thread_id = Arc::clone(&key.thread_id);
        self.facts.expect(process, key.clone(), cwd, at_unix_ns);
        let mut patch = ThreadPatch::touch(key, at_unix_ns);
        patch.archived = Some(false);
        patch.title = thread.title.as_deref().map(|title| Some(title.into()));
        let values = thread.metadata.iter();
        patch.values = values
            .map(|(key, value)| (key.as_str().into(), Some(value.as_str().into())))
            .collect();
        // The patch is within its bounds already, and the queue is full only after hours of a dead disk.
        self.handle.accept_of_command(patch);
        thread_id
    }
}

impl Observer for MetadataObserver {
    fn accepted(&self, process: records::ProcessKey, accepted: &Accepted<'_>) {
        let key = key(process);
        let cwd: Box<[u8]> = accepted.cwd.map(|cwd| cwd.to_bytes().into()).unwrap_or_default();
        let (argv, argv_cut) = argv(accepted);
        let start = ProcessStart {
            epoch: self.epoch,
            boot_id: self.boot_id,
            thread_id: accepted
                .thread
                .map(|thread| self.thread(key, thread, &cwd, accepted.at_unix_ns)),
            turn: accepted.turn,
            step: accepted.step.map(Into::into),
            argv,
            argv_cut,
            cwd,
            accepted_unix_ns: accepted.at_unix_ns,
            detached: false,
            parameters: *accepted.parameters,
            trace: accepted.trace.map(|context| TraceRef {
                trace_id: context.trace_id.to_bytes(),
                sampled: context.is_sampled(),
            }),
        };
        let mut patch = ProcessPatch::new(key);
        patch.start = Some(Arc::new(start));
        self.patch(patch, accepted.trace.and_then(Link::to));
    }

    fn refused(&self, process: records::ProcessKey, why: &StartError, at_unix_ns: u64) {
        let key = key(process);
        self.facts.forget(&key);
        let mut patch = ProcessPatch::new(key);
        patch.end = Some(ProcessEnd {
            outcome: Outcome::FailedToStart(why.start_failure()),
            message: Some(why.to_string().into()),
            ended_unix_ns: at_unix_ns,
            stdout_bytes: 0,
            stderr_bytes: 0,
            family: None,
            timings: None,
        });
        self.patch(patch, None);
    }

    fn started(&self, process: records::ProcessKey, pid: u32, at_unix_ns: u64) {
        let mut patch = ProcessPatch::new(key(process));
        patch.spawned = Some(ProcessSpawned {
            os_pid: pid,
            start_ticks: self.ticks(),
            spawned_unix_ns: at_unix_ns,
        });
        patch.last_seq = 1;
        self.patch(patch, None);
    }

    fn delivered(&self, process: records::ProcessKey) {
        self.facts.delivered(&key(process));
    }

    fn progressed(&self, process: records::ProcessKey, seq: u64) {
        let mut patch = ProcessPatch::new(key(process));
        patch.last_seq = seq;
        self.patch(patch, None);
    }

    fn exited(&self, process: records::ProcessKey, exit: &Exit) {
        let mut patch = ProcessPatch::new(key(process));
        patch.last_seq = exit.seq;
        patch.end = Some(ended(exit));
        self.patch(patch, None);
    }

    fn closed(&self, process: records::ProcessKey, exit: &Exit, close: &Close, measured: &Measured<'_>) {
        let mut patch = ProcessPatch::new(key(process));
        patch.last_seq = close.seq;
        patch.end = Some(ProcessEnd {
            stdout_bytes: close.output.stdout_bytes,
            stderr_bytes: close.output.stderr_bytes,
            family: measured.family,
            timings: timings_of(measured.stages),
            ..ended(exit)
        });
        self.patch(patch, None);
    }
}

pub(crate) fn key(process: records::ProcessKey) -> ProcessKey {
    ProcessKey {
        owner: Owner(*process.client.as_bytes()),
        process_id: process.process,
    }
}

/// The arguments, truncated where they are too long: a start may carry megabytes, and only the stored part is copied.
fn argv(accepted: &Accepted<'_>) -> (Argv, bool) {
    let most = ARGV_BYTES / 16;
    let few = &accepted.argv[..accepted.argv.len().min(most)];
    let bytes: usize = few.iter().map(|argument| argument.to_bytes().len()).sum();
    let mut argv = Argv::with_capacity(few.len(), bytes.min(ARGV_BYTES));
    let mut left = ARGV_BYTES;
    for (at, argument) in accepted.argv.iter().enumerate() {
        let bytes = argument.to_bytes();
        if bytes.len() > left || at >= most {
            argv.push(&bytes[..bytes.len().min(left)]);
            return (argv, true);
        }
        left -= bytes.len();
        argv.push(bytes);
    }
    (argv, false)
}

/// The end of a process, as far as its exit determines it.
fn ended(exit: &Exit) -> ProcessEnd {
    let outcome = exit.outcome();
    let message = match exit.status {
        None => Some("the operating system did not say how it ended".into()),
        Some(_) => outcome.call_end().map(|end| end.to_string().into()),
    };
    ProcessEnd {
        outcome,
        message,
        ended_unix_ns: exit.at_unix_ns,
        stdout_bytes: 0,
        stderr_bytes: 0,
        family: None,
        timings: None,
    }
}

/// The server's stages, relative to the start of the first.
fn timings_of(stages: &[StageRecord]) -> Option<Timings> {
    let first = stages.iter().map(|stage| stage.start_ns).min()?;
    let times: Vec<_> = stages
        .iter()
        .map(|stage| StageTime {
            stage: stage.stage,
            attempt: stage.attempt,
            start_ns: stage.start_ns.abs_diff(first),
            duration_ns: stage.duration_ns(),
        })
        .collect();
    let covering = stages
        .iter()
        .filter(|stage| stage.stage.def().is_some_and(|def| def.covers));
    let slowest = covering.max_by_key(|stage| stage.duration_ns());
    Some(Timings {
        encoded: timings::encode(&times).into(),
        slowest: slowest.map(|stage| SlowestStage {
            stage: stage.stage,
            duration_ns: stage.duration_ns(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use baton_channel::key::PublicKey;
    use baton_proto::ProcessId;
    use baton_trace::recorder::Recorder;

    use super::*;
    use crate::batch::Batch;
    use crate::store::{Store, UpkeepProgress, WriteError, WriteErrorKind, WriteSummary};
    use crate::{FlushError, writer};

    /// A disk that is full.
    struct Full;

    impl Store for Full {
        fn write(&mut self, _: &Batch) -> Result<WriteSummary, WriteError> {
            Err(WriteError::new(WriteErrorKind::Full, "by command"))
        }

        fn upkeep(&mut self, _: u64) -> Result<UpkeepProgress, WriteError> {
            Ok(UpkeepProgress::Done)
        }
    }

    #[tokio::test]
    async fn what_a_command_says_of_its_thread_and_finds_no_room_is_counted_for_its_owner() {
        let (handle, _writer) = writer::start(Box::new(Full), Recorder::off()).unwrap();
        let facts = Arc::new(Facts::new(Arc::new(|_| true)));
        let recording = MetadataObserver::new(handle.clone(), facts, Epoch([1; 16]), [0; 16]);
        let owner = [1; 32];
        let value = |n: u64| (n.to_string(), "v".repeat(4_000));
        for n in 0_u64.. {
            let mut process = [0; 16];
            process[..8].copy_from_slice(&n.to_be_bytes());
            let process = records::ProcessKey {
                client: PublicKey::from_bytes(owner),
                process: ProcessId(process),
            };
            let thread = Thread {
                id: n.to_string(),
                title: None,
                metadata: (0..4).map(value).collect(),
            };
            let accepted = Accepted {
                client_name: "test",
                argv: &[CString::from(c"true")],
                cwd: None,
                thread: Some(&thread),
                turn: None,
                step: None,
                trace: None,
                parameters: &[0; 32],
                at_unix_ns: n,
            };
            recording.accepted(process, &accepted);
            if handle.stats().refused > 0 {
                break;
            }
        }
        assert!(handle.stats().bytes < crate::limits::THREAD_BYTES + crate::limits::PROCESS_BYTES);
        match handle.flush_of(Owner(owner), None).await {
            Err(FlushError::Failed { dropped: 1, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
