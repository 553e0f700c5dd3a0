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

/// One call for a command: the first one starts it. A caller that repeats a start calls again with the same process id;
/// other calls attach to the process or read its events.
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

/// What a call does with its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Starts it and reads its events. It has the first lease.
    Run {
        /// Bytes of standard input that will be sent.
        stdin: Option<usize>,
        /// After a lost session the client library attaches again, or repeats the start.
        recovers: bool,
        /// A full log drops the oldest output.
        drops_output: bool,
        /// How long the process outlives a lost session, and how long its log is kept after its exit.
        grace: Duration,
    },
    /// Starts it and leaves it.
    Detached,
    /// Takes the lease and reads its events.
    Attach {
        /// After a lost session the client library attaches again.
        recovers: bool,
    },
    /// Only reads its events.
    Watch,
    /// Asks for its events, call after call.
    Poll,
    /// Waits for its exit.
    Wait,
}

impl CallKind {
    /// Whether the client library attaches again after a lost session.
    pub(crate) fn recovers(self) -> bool {
        match self {
            Self::Run { recovers, .. } | Self::Attach { recovers } => recovers,
            Self::Detached | Self::Watch | Self::Poll | Self::Wait => false,
        }
    }

    /// Whether the call may have the lease of its command while it lasts.
    pub(crate) fn may_own(self) -> bool {
        matches!(self, Self::Run { .. } | Self::Attach { .. })
    }
}

/// How a call ended, for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallResult {
    /// The stream of events ended without an error.
    Complete,
    /// The call ended with an error.
    Failed(String),
    /// There was no session, and nothing was started.
    Unreached(String),
    /// Another call has taken the lease.
    Superseded,
    /// The exec-server knows no such process, or it lets no call attach to it.
    Unknown,
    /// The client library reports that the exec-server has violated the protocol.
    Violated(String),
    /// The caller dropped the call after its timeout.
    GivenUp,
    /// The caller's machine crashed.
    Crashed,
}

impl CallResult {
    /// Whether another attempt may succeed: the session was lost, or there was none.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unreached(_))
    }
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
    /// The call has the lease.
    Attached,
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
            Self::Attached => f.write_str("Attached"),
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
    /// The span of the process, if it has the `process` stage.
    pub(crate) process: Option<SpanId>,
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

    /// A caller makes a call.
    Called {
        attempt: Attempt,
        /// The span of its own trace that is the parent; `None`: the call begins a trace.
        caller: Option<Position>,
        kind: CallKind,
    },
    /// A caller received an event of its process.
    Received {
        attempt: Attempt,
        /// The number of the event; of a gap, that of the last event that is missing. 0: it has none, or the caller
        /// does not know it.
        seq: u64,
        received: ReceivedEvent,
    },
    /// With the exit a caller was told the trace that the process is in.
    Told {
        attempt: Attempt,
        trace: Option<TraceId>,
    },
    /// The client library has noticed that the session of a call is lost, and attaches again.
    SessionLost { attempt: Attempt },
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
    /// The exec-server sent a process a signal that does not end it.
    Signalled { run: RunId, signal: i32 },
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
    /// When every exec-server had to be reachable, a client dialled one in a new session, and ran a command.
    Dialled {
        client: usize,
        server: usize,
        found: bool,
    },
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

    /// Whether a call that does not recover has lost its lease for certain: another call, made after this one had the
    /// lease, has it.
    pub(crate) fn is_superseded(&self, attempt: Attempt) -> bool {
        let mut had_lease = false;
        let mut rivals = Vec::new();
        self.has(|event| match event {
            Event::Received { attempt: other, .. } if *other == attempt => {
                had_lease = true;
                false
            }
            Event::Called {
                attempt: other,
                kind: CallKind::Attach { .. },
                ..
            } if had_lease && other.run == attempt.run => {
                rivals.push(*other);
                false
            }
            Event::Received {
                attempt: other,
                received: ReceivedEvent::Attached,
                ..
            } => rivals.contains(other),
            _ => false,
        })
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
            process: record.stage(PROCESS).map(|_| record.span_id(PROCESS, 0)),
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
