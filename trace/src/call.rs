//! What a handler knows of the call it serves.
//!
//! The channel puts an `Arc<ServerCall>` into the extensions of every request. A handler reads the context to
//! hand on and adds stages of its own; the channel sends them back in `Trailers` and exports them.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use opentelemetry::SpanId;

use crate::limits::HANDLER_STAGES_MAX;
use crate::record::{Anchor, StageRecord};
use crate::stage::{self, StageId, transport};
use crate::w3c::TraceContext;

/// One call, as its handler sees it.
#[derive(Debug)]
pub struct ServerCall {
    context: TraceContext,
    envelope: SpanId,
    anchor: Anchor,
    recording: bool,
    stages: Mutex<Vec<StageRecord>>,
}

impl ServerCall {
    /// A call whose envelope is the span of `inbound`. When not `recording`, stages are ignored and cost nothing;
    /// the context still travels on.
    pub fn new(inbound: &TraceContext, anchor: Anchor, recording: bool) -> Self {
        let envelope = inbound.span_id;
        let rpc = stage::span_id(inbound.trace_id, envelope, transport::RPC, 0);
        Self {
            context: inbound.with_span(rpc),
            envelope,
            anchor,
            recording,
            stages: Mutex::new(Vec::new()),
        }
    }

    /// The context of the `rpc` span: parent for whatever the handler starts.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The context of one of this call's stages, for handing to what runs inside it.
    pub fn context_of(&self, stage: StageId) -> TraceContext {
        let id = stage::span_id(self.context.trace_id, self.envelope, stage, 0);
        self.context.with_span(id)
    }

    /// The span that the caller exports for this call.
    pub fn envelope(&self) -> SpanId {
        self.envelope
    }

    /// The clocks that this call's stages count from: the arrival of its `Head`.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Whether stages are kept.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Adds an interval.
    pub fn record(&self, stage: StageId, start: Instant, end: Instant) {
        if !self.recording {
            return;
        }
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if stages.len() < HANDLER_STAGES_MAX {
            stages.push(StageRecord::between(&self.anchor, stage, start, end));
        }
    }

    /// The handler's stages so far.
    pub fn stages(&self) -> Vec<StageRecord> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
