//! What happened in one simulation, in order: what callers asked for and were told, what processes really did, what was recorded.
//!
//! Everybody writes into one [`History`]; the [checker](crate::check) reads it when all is over.

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

/// One command that somebody wants to have run: one process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u32);

/// One call of `Run` for a command. A caller who repeats a start asks again with the same process id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ask {
    pub(crate) run: RunId,
    pub(crate) attempt: u32,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run.0, self.attempt)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// One life of the exec-server, from its start to its crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Life(pub(crate) u32);

/// A span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

/// How a call ended, for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The stream of events came to its end.
    Complete,
    /// With an error.
    Failed(String),
    /// The caller lost patience and dropped it.
    GivenUp,
    /// The caller's machine crashed.
    Crashed,
}

/// What a caller was told of a process.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Started,
    Output(Output, Bytes),
    Exited(ExitStatus),
    Closed { truncated: bool },
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("Started"),
            Self::Output(output, data) => write!(f, "{output:?} {}", data.len()),
            Self::Exited(status) => write!(f, "Exited {status:?}"),
            Self::Closed { truncated } => write!(f, "Closed truncated={truncated}"),
        }
    }
}

/// What a call's record says, as far as it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) side: Side,
    pub(crate) trace: TraceId,
    /// The envelope's span.
    pub(crate) envelope: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// Whether it has the span that the process was told.
    pub(crate) has_process: bool,
    /// Stages that end before they begin, or lie outside the envelope they belong to.
    pub(crate) misplaced: Vec<&'static str>,
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something was done to the machines or to the network between them.
    Fault(String),
    /// The exec-server told its owner something.
    Notice(String),
    /// No fault comes any more.
    Calm,

    /// A caller makes a call, from this position in a trace of its own.
    Asked {
        ask: Ask,
        caller: Position,
        /// Bytes of standard input that will be sent.
        stdin: Option<usize>,
    },
    /// A caller is told something.
    Told { ask: Ask, told: Told },
    /// A call is over for its caller.
    Ended { ask: Ask, end: End },

    /// A process was made, and told where in a trace it is.
    Spawned {
        run: RunId,
        process: ProcessId,
        life: Life,
        position: Option<Position>,
    },
    /// A process wrote so many bytes.
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
    /// A process was reaped, or its server dropped it.
    Gone { run: RunId },
    /// An exec-server lost power.
    ServerCrashed { life: Life },

    /// A part has recorded a call.
    Recorded(Recorded),

    /// After the calm, a client tried until a command ran.
    Recovered { client: usize, ran: bool },
    /// What the parts hold after every client has left.
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

/// See the [module](self). Clones share it.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    entries: Vec<Entry>,
}

impl History {
    /// Virtual time has come so far.
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

    /// Whether there is such an event.
    pub(crate) fn has(&self, is: impl FnMut(&Event) -> bool) -> bool {
        let mut is = is;
        self.lock().entries.iter().any(|entry| is(&entry.event))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records arrive here, with those of every life of every part.
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

/// The byte that a process writes, or a caller sends, at `offset`: different for every run and stream, so that a byte that
/// was lost, repeated or misdirected shows.
pub(crate) fn byte(run: RunId, stream: u8, offset: usize) -> u8 {
    let x = (offset as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 32) as u8 ^ (run.0 as u8).wrapping_mul(31) ^ stream.wrapping_mul(97)
}

/// The number of an output in [`byte`]; 0 is the standard input.
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
