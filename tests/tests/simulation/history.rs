//! The events of one simulation, in order: the calls of callers and the events that they received, what the processes
//! did, and the call records.
//!
//! All components add to one [`History`]; the [checker](crate::check) reads it after the simulation.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_core_client::ExitStatus;
use baton_proto::ProcessId;
use baton_trace::record::{CallRecord, Side};
use baton_trace::recorder::RecordSink;
use baton_trace::stage::exec::PROCESS;
use baton_trace::{SpanId, TraceId};
use bytes::Bytes;

/// One command of the plan, which has one process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u32);

/// One call of `Run` for a command. A caller that repeats a start calls again with the same process id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attempt {
    pub(crate) run: RunId,
    pub(crate) number: u32,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run.0, self.number)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// One run of the exec-server, from its start to its crash, by number. The id of an epoch is random, this is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ServerEpoch(pub(crate) u32);

/// A span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

/// How a call ended, for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallResult {
    /// The stream of events ended without an error.
    Complete,
    /// The call ended with an error.
    Failed(String),
    /// The caller dropped the call after its timeout.
    GivenUp,
    /// The caller's machine crashed.
    Crashed,
}

/// An event of a process that a caller received.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ReceivedEvent {
    Started,
    Output(Output, Bytes),
    Exited(ExitStatus),
    Closed {
        truncated: bool,
    },
    /// This many events are missing.
    Gap(u64),
    /// The start repeats one that another call has made.
    Repeated,
}

impl fmt::Debug for ReceivedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("Started"),
            Self::Output(output, data) => write!(f, "{output:?} {}", data.len()),
            Self::Exited(status) => write!(f, "Exited {status:?}"),
            Self::Closed { truncated } => write!(f, "Closed truncated={truncated}"),
            Self::Gap(events) => write!(f, "Gap {events}"),
            Self::Repeated => f.write_str("Repeated"),
        }
    }
}

/// The fields of a call record that the checker reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) side: Side,
    pub(crate) trace: TraceId,
    /// The envelope's span.
    pub(crate) envelope: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// Whether it has the `process` stage.
    pub(crate) has_process: bool,
    /// Stages that end before they begin, or lie outside their envelope.
    pub(crate) misplaced: Vec<&'static str>,
}

/// Something that happened in a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The driver changed a machine or the network.
    Fault(String),
    /// The exec-server reported a notice.
    Notice(String),
    /// All faults have ended; none follows.
    FaultsEnded,

    /// A caller makes a call, with this span of its own trace as the parent.
    Called {
        attempt: Attempt,
        caller: Position,
        /// Bytes of standard input that will be sent.
        stdin: Option<usize>,
    },
    /// A caller received an event of its process.
    Received {
        attempt: Attempt,
        received: ReceivedEvent,
    },
    /// A call ended for its caller.
    Ended { attempt: Attempt, end: CallResult },

    /// A process was started, with the trace context of `position`.
    Spawned {
        run: RunId,
        process: ProcessId,
        epoch: ServerEpoch,
        position: Option<Position>,
    },
    /// The pipe of an output took this many bytes from a process.
    Wrote {
        run: RunId,
        output: Output,
        bytes: usize,
    },
    /// A process read from its standard input.
    Read { run: RunId, data: Bytes },
    /// A process saw the end of its standard input.
    ReadEnd { run: RunId },
    /// A process exited.
    Exited { run: RunId, status: ExitStatus },
    /// A process was reaped, or the exec-server dropped it.
    Gone { run: RunId },
    /// The exec-server's machine crashed.
    ServerCrashed { epoch: ServerEpoch },

    /// A component recorded a call.
    Recorded(Recorded),

    /// After the last fault a client retried a command until it ran, or until its time was over (`ran` is false).
    Recovered { client: usize, ran: bool },
    /// What the components still hold after every client program has ended.
    Settled {
        processes: usize,
        sessions: u64,
        registrations: u64,
    },
}

/// An event and its virtual time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) event: Event,
}

/// The list of events. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    entries: Vec<Entry>,
}

impl History {
    /// Sets the virtual time of the events that follow.
    pub(crate) fn advance(&self, now: Duration) {
        self.lock().now = now;
    }

    pub(crate) fn add(&self, event: Event) {
        let mut state = self.lock();
        let at = state.now;
        state.entries.push(Entry { at, event });
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Whether any event matches.
    pub(crate) fn has(&self, is: impl FnMut(&Event) -> bool) -> bool {
        let mut is = is;
        self.lock().entries.iter().any(|entry| is(&entry.event))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives the call records of every component, across restarts.
impl RecordSink for History {
    fn record(&self, record: CallRecord) {
        self.add(Event::Recorded(Recorded::new(&record)));
    }
}

impl Recorded {
    fn new(record: &CallRecord) -> Self {
        let envelope = match record.side {
            Side::Client => record.stage(baton_trace::stage::transport::CALL),
            Side::Server => None,
        };
        let bounds = envelope.map_or((i64::MIN, i64::MAX), |call| (call.start_ns, call.end_ns));
        let misplaced = record
            .stages
            .iter()
            .filter(|stage| {
                stage.start_ns > stage.end_ns || stage.start_ns < bounds.0 || stage.end_ns > bounds.1
            })
            .map(|stage| stage.stage.name())
            .collect();
        Self {
            side: record.side,
            trace: record.context.trace_id,
            envelope: record.context.span_id,
            parent: record.parent,
            has_process: record.stage(PROCESS).is_some(),
            misplaced,
        }
    }
}

/// The byte that a process writes, or a caller sends, at `offset`. The sequence differs between runs and streams, so
/// that lost, repeated and misdirected bytes are detected.
pub(crate) fn byte(run: RunId, stream: u8, offset: usize) -> u8 {
    let x = (offset as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 32) as u8 ^ (run.0 as u8).wrapping_mul(31) ^ stream.wrapping_mul(97)
}

/// The stream number of an output in [`byte`]; 0 is standard input.
pub(crate) fn stream_of(output: Output) -> u8 {
    match output {
        Output::Stdout => 1,
        Output::Stderr => 2,
    }
}

/// Bytes `from..from + len` of a stream.
pub(crate) fn pattern(run: RunId, stream: u8, from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|offset| byte(run, stream, offset))
        .collect()
}
