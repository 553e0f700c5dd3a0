//! The intervals that one component measured of one call, in nanoseconds after one anchor.
//!
//! A [`CallRecord`] is the only source of OTLP spans, trace files, the terminal waterfall and `Trailers`. Building one
//! allocates a single small vector. Nothing here locks or blocks.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::{KeyValue, SpanId};

use crate::clock::ClockOffset;
use crate::command::CommandSummary;
use crate::stage::{self, Component, StageId};
use crate::status::RpcStatus;
use crate::w3c::TraceContext;

/// One reading of both clocks. The wall clock is stepped, and the monotonic clock stops in suspend. So each call reads
/// both once and derives all its times from this reading.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// Monotonic reading.
    pub instant: Instant,
    /// Wall clock at the same moment, nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

impl Anchor {
    /// Nanoseconds from the anchor to `at`; negative if `at` was earlier.
    pub fn offset_ns(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.instant) {
            Some(after) => saturating_ns(after),
            None => -saturating_ns(self.instant - at),
        }
    }

    /// Wall-clock time of a point `offset_ns` after the anchor.
    pub fn unix_ns_at(&self, offset_ns: i64) -> u64 {
        self.unix_ns.saturating_add_signed(offset_ns)
    }

    /// Wall-clock time of a monotonic reading.
    pub fn unix_ns_of(&self, at: Instant) -> u64 {
        self.unix_ns_at(self.offset_ns(at))
    }
}

/// The wall clock, in nanoseconds since the Unix epoch (0 before it).
pub fn unix_now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn saturating_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// One interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageRecord {
    /// Which stage.
    pub stage: StageId,
    /// 0 for the first try; connection attempts count up. In a client's record 1 also for a call that is answered with
    /// the server's stages of an earlier one ([`CallRecord::server_calls`]).
    pub attempt: u8,
    /// Start, in nanoseconds after the record's anchor.
    pub start_ns: i64,
    /// End, in nanoseconds after the record's anchor; never before the start.
    pub end_ns: i64,
    /// The duration was measured, the position was not (relay stages).
    pub estimated: bool,
}

impl StageRecord {
    /// An interval between two monotonic readings. A reading out of order yields an empty interval at `start`.
    pub fn between(anchor: &Anchor, stage: StageId, start: Instant, end: Instant) -> Self {
        let start_ns = anchor.offset_ns(start);
        Self {
            stage,
            attempt: 0,
            start_ns,
            end_ns: anchor.offset_ns(end).max(start_ns),
            estimated: false,
        }
    }

    /// Length in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns).max(0).unsigned_abs()
    }
}

/// The side of the call that made a record. It determines which stages are exported from this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Exports the client's and the relay's stages.
    Client,
    /// Exports the server's stages.
    Server,
}

/// Everything that one component knows of one call.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// The side that made it.
    pub side: Side,
    /// Trace id, flags and tracestate. `span_id` is the call id, which all other span ids of the call are derived from:
    /// the id of the `call` span, where the client records one.
    pub context: TraceContext,
    /// The parent of this component's outermost span: for `call` the caller's span, for `rpc` the span that
    /// `traceparent` names. `None`: it is the root of its trace.
    pub parent: Option<SpanId>,
    /// Linked spans: an inbound context that was not continued (trust `restart`), or the spans whose records a metadata
    /// write contains.
    pub links: Vec<TraceContext>,
    /// Fully qualified method without the leading slash, `package.Service/Method`.
    pub method: Cow<'static, str>,
    /// The anchor of the stages.
    pub anchor: Anchor,
    /// The stages, in any order. A client's record holds those of all three components, with the server's translated to
    /// the client's clock.
    pub stages: Vec<StageRecord>,
    /// How the call ended.
    pub status: RpcStatus,
    /// Estimated server clock minus client clock, if the session has an estimate.
    pub clock: Option<ClockOffset>,
    /// Start and end of the `rpc` span that the server exports, by the server's wall clock, in nanoseconds since the
    /// Unix epoch. Present in a client's record if the response contained timings.
    pub server_unix_ns: Option<Range<u64>>,
    /// The calls that the server's stages in a client's record belong to: those with attempt n to the call at n. Empty
    /// if the record is of one call, as most are.
    pub server_calls: Vec<ServerCallRef>,
    /// Attributes of the envelope (client) or of the SERVER span (server). Never argv, never environment.
    pub attributes: Vec<KeyValue>,
    /// The command that the call runs, if it runs one.
    pub command: Option<Box<CommandSummary>>,
}

/// A call as a server records it, in the record of a client that continued its work in another call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCallRef {
    /// The call id that its span ids are derived from.
    pub call_id: SpanId,
    /// Its method, as [`CallRecord::method`].
    pub method: Cow<'static, str>,
}

impl CallRecord {
    /// The span id of a stage, as the component that exports the stage has it.
    pub fn span_id(&self, stage: StageId, attempt: u8) -> SpanId {
        let trace = self.context.trace_id;
        match self.server_call(stage, attempt) {
            Some(call) => stage::span_id(trace, call.call_id, stage, 0),
            None => stage::span_id(trace, self.context.span_id, stage, attempt),
        }
    }

    /// The method of the call that a stage belongs to.
    pub fn method_of(&self, stage: StageId, attempt: u8) -> &Cow<'static, str> {
        let call = self.server_call(stage, attempt);
        call.map_or(&self.method, |call| &call.method)
    }

    /// The call of [`server_calls`](Self::server_calls) that a stage belongs to.
    fn server_call(&self, stage: StageId, attempt: u8) -> Option<&ServerCallRef> {
        let call = self.server_calls.get(usize::from(attempt))?;
        // An id that this version does not know can only have come from a newer server.
        let is_servers = stage.def().is_none_or(|def| def.exporter == Component::Server);
        is_servers.then_some(call)
    }

    /// The first record of a stage.
    pub fn stage(&self, stage: StageId) -> Option<&StageRecord> {
        self.stages.iter().find(|record| record.stage == stage)
    }
}
