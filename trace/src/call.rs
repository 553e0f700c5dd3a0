//! What a handler knows of the call it serves.
//!
//! The channel puts an `Arc<ServerCall>` into the extensions of every request. A handler reads the context to
//! hand on and adds stages of its own; the channel sends them back in `Trailers` and exports them.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use opentelemetry::SpanId;

use crate::limits::HANDLER_STAGES_MAX;
use crate::record::{Anchor, StageRecord};
use crate::stage::{self, StageId, transport};
use crate::subject::Subject;
use crate::w3c::TraceContext;

/// One call, as its handler sees it.
#[derive(Debug)]
pub struct ServerCall {
    context: TraceContext,
    call_id: SpanId,
    anchor: Anchor,
    recording: bool,
    stages: Mutex<Vec<StageRecord>>,
    when_over: Mutex<Option<WhenOver>>,
    /// Somebody takes its record.
    exported: bool,
    subject: OnceLock<Subject>,
}

/// Takes a call's stages when nobody can add to them any more.
struct WhenOver(Box<dyn FnOnce(Vec<StageRecord>) + Send>);

impl fmt::Debug for WhenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhenOver")
    }
}

impl ServerCall {
    /// A call in the trace of `inbound`, told from the trace's other calls by `call_id`. When not `recording`, stages are ignored and
    /// cost nothing; the context still travels on.
    pub fn new(inbound: &TraceContext, call_id: SpanId, anchor: Anchor, recording: bool) -> Self {
        let rpc = stage::span_id(inbound.trace_id, call_id, transport::RPC, 0);
        Self {
            context: inbound.with_span(rpc),
            call_id,
            anchor,
            recording,
            stages: Mutex::new(Vec::new()),
            when_over: Mutex::new(None),
            exported: recording,
            subject: OnceLock::new(),
        }
    }

    /// Whether somebody takes the record of this call. If not, what is `recording` is for its caller and its handler alone.
    #[must_use]
    pub fn exported(mut self, exported: bool) -> Self {
        self.exported = exported;
        self
    }

    /// Whether spans of this call's stages are exported, so that somebody else's spans can hang under them.
    pub fn is_exported(&self) -> bool {
        self.exported
    }

    /// The context of the `rpc` span: parent for whatever the handler starts.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The context of one of this call's stages, for handing to what runs inside it.
    pub fn context_of(&self, stage: StageId) -> TraceContext {
        let id = stage::span_id(self.context.trace_id, self.call_id, stage, 0);
        self.context.with_span(id)
    }

    /// What the span ids of this call's stages are derived from. A client that records the call has given its own span this id.
    pub fn call_id(&self) -> SpanId {
        self.call_id
    }

    /// The clocks that this call's stages count from: the arrival of its `Head`.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Whether stages are kept.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// The call runs this command: the server's `process` span tells of it. Only the first one counts; it is not made where nobody takes the
    /// record.
    pub fn runs(&self, subject: impl FnOnce() -> Subject) {
        if self.exported {
            self.subject.get_or_init(subject);
        }
    }

    /// The command that the call runs.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.get()
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
        self.with_stages(<[_]>::to_vec)
    }

    /// The same without a copy. `look` must not use this call.
    pub fn with_stages<T>(&self, look: impl FnOnce(&[StageRecord]) -> T) -> T {
        look(&self.stages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands the stages on once nobody else holds this call: now, unless something that the handler started outlasts it, as a
    /// process does whose caller has gone. Its span was told to others, so it must be exported. The last one counts.
    pub fn when_over(mut self: Arc<Self>, take: impl FnOnce(Vec<StageRecord>) + Send + 'static) {
        match Arc::get_mut(&mut self) {
            Some(call) => take(std::mem::take(unlocked(&mut call.stages))),
            None => {
                let take = WhenOver(Box::new(take));
                *self.when_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(take);
            }
        }
    }
}

impl Drop for ServerCall {
    fn drop(&mut self) {
        if let Some(WhenOver(take)) = unlocked(&mut self.when_over).take() {
            take(std::mem::take(unlocked(&mut self.stages)));
        }
    }
}

fn unlocked<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::stage::exec::PROCESS;
    use crate::w3c::random_span_id;

    fn call() -> Arc<ServerCall> {
        Arc::new(ServerCall::new(
            &TraceContext::new_root(true),
            random_span_id(),
            Anchor {
                instant: Instant::now(),
                unix_ns: 0,
            },
            true,
        ))
    }

    fn record(call: &ServerCall) {
        call.record(PROCESS, Instant::now(), Instant::now());
    }

    #[test]
    fn stages_are_handed_on_when_the_last_who_can_add_one_is_gone() {
        let (sender, stages) = mpsc::channel();
        let call = call();
        let process = Arc::clone(&call);
        record(&call);
        call.when_over(move |stages| sender.send(stages.len()).unwrap());
        assert!(stages.try_recv().is_err());
        record(&process);
        drop(process);
        assert_eq!(stages.try_recv(), Ok(2));
    }

    #[test]
    fn stages_that_nobody_can_add_to_are_handed_on_at_once() {
        let (sender, stages) = mpsc::channel();
        let call = call();
        record(&call);
        call.when_over(move |stages| sender.send(stages.len()).unwrap());
        assert_eq!(stages.try_recv(), Ok(1));
    }
}
