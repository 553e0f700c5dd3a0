//! What a handler knows of the call it serves, and the stages that a handler and a caller add to it.
//!
//! The channel puts an `Arc<ServerCall>` into the extensions of every request. A handler reads the context to
//! hand on and adds stages of its own; the channel sends them back in `Trailers` and exports them. A caller adds its stages through
//! [`ClientStages`]. Rows for stages of a mounted service are registered: [`stage::register`].

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use opentelemetry::SpanId;

use crate::command::TracedCommand;
use crate::limits::HANDLER_STAGES_MAX;
use crate::record::{Anchor, StageRecord};
use crate::stage::{self, StageId, transport};
use crate::w3c::TraceContext;

/// One call, as its handler sees it.
#[derive(Debug)]
pub struct ServerCall {
    context: TraceContext,
    call_id: SpanId,
    anchor: Anchor,
    recording: bool,
    stages: Mutex<Vec<StageRecord>>,
    on_complete: Mutex<Option<OnComplete>>,
    /// Somebody takes its record.
    exported: bool,
    command: OnceLock<TracedCommand>,
}

/// The stages that a caller adds to its own call, while the call lasts. Put a clone into the request's extensions, one for each call.
///
/// Only the ids of users ([`stage::USER_IDS`]) are taken: the channel itself measures the rest.
#[derive(Debug, Clone, Default)]
pub struct ClientStages(Arc<Mutex<Vec<Added>>>);

#[derive(Debug)]
struct Added {
    stage: StageId,
    start: Instant,
    end: Instant,
}

impl ClientStages {
    /// Adds an interval. Further ones than [`HANDLER_STAGES_MAX`] are dropped.
    pub fn record(&self, stage: StageId, start: Instant, end: Instant) {
        let mut added = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stage.is_user_defined() && added.len() < HANDLER_STAGES_MAX {
            added.push(Added { stage, start, end });
        }
    }

    /// Takes out the stages of a call that began at `anchor` and ended at `end`, clipped to it. Stages outside of it are dropped.
    pub fn take(&self, anchor: &Anchor, end: Instant) -> Vec<StageRecord> {
        let added = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let clipped = added.into_iter().map(|added| Added {
            start: added.start.max(anchor.instant),
            end: added.end.min(end),
            ..added
        });
        clipped
            .filter(|added| added.start < added.end)
            .map(|added| StageRecord::between(anchor, added.stage, added.start, added.end))
            .collect()
    }
}

/// Takes a call's stages when nobody can add to them any more.
struct OnComplete(Box<dyn FnOnce(Vec<StageRecord>) + Send>);

impl fmt::Debug for OnComplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnComplete")
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
            on_complete: Mutex::new(None),
            exported: recording,
            command: OnceLock::new(),
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
    pub fn set_command(&self, command: impl FnOnce() -> TracedCommand) {
        if self.exported {
            self.command.get_or_init(command);
        }
    }

    /// The command that the call runs.
    pub fn command(&self) -> Option<&TracedCommand> {
        self.command.get()
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
    pub fn on_complete(mut self: Arc<Self>, take: impl FnOnce(Vec<StageRecord>) + Send + 'static) {
        match Arc::get_mut(&mut self) {
            Some(call) => take(std::mem::take(unlocked(&mut call.stages))),
            None => {
                let take = OnComplete(Box::new(take));
                *self.on_complete.lock().unwrap_or_else(PoisonError::into_inner) = Some(take);
            }
        }
    }
}

impl Drop for ServerCall {
    fn drop(&mut self) {
        if let Some(OnComplete(take)) = unlocked(&mut self.on_complete).take() {
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
    use std::time::Duration;

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
        call.on_complete(move |stages| sender.send(stages.len()).unwrap());
        assert!(stages.try_recv().is_err());
        record(&process);
        drop(process);
        assert_eq!(stages.try_recv(), Ok(2));
    }

    #[test]
    fn a_callers_stages_are_clipped_to_its_call() {
        let anchor = Anchor {
            instant: Instant::now(),
            unix_ns: 0,
        };
        // The call lasts from 100 to 200 ms.
        let at = |ms: u64| anchor.instant + Duration::from_millis(ms);
        let stages = ClientStages::default();
        for (start, end) in [
            (110, 120),
            (50, 110),
            (190, 300),
            (0, 100),
            (200, 300),
            (150, 140),
        ] {
            stages.record(StageId(200), at(start), at(end));
        }
        stages.record(PROCESS, at(110), at(120));
        let call = Anchor {
            instant: at(100),
            unix_ns: 0,
        };
        let taken = stages.take(&call, at(200));
        let ms: Vec<_> = taken
            .iter()
            .map(|stage| (stage.start_ns / 1_000_000, stage.end_ns / 1_000_000))
            .collect();
        assert_eq!(ms, [(10, 20), (0, 10), (90, 100)]);
        assert!(stages.take(&call, at(200)).is_empty(), "they are taken");
    }

    #[test]
    fn the_number_of_a_callers_stages_is_bounded() {
        let stages = ClientStages::default();
        let anchor = *call().anchor();
        let end = anchor.instant + Duration::from_secs(1);
        for _ in 0..=HANDLER_STAGES_MAX {
            stages.record(StageId(200), anchor.instant, end);
        }
        assert_eq!(stages.take(&anchor, end).len(), HANDLER_STAGES_MAX);
    }

    #[test]
    fn stages_that_nobody_can_add_to_are_handed_on_at_once() {
        let (sender, stages) = mpsc::channel();
        let call = call();
        record(&call);
        call.on_complete(move |stages| sender.send(stages.len()).unwrap());
        assert_eq!(stages.try_recv(), Ok(1));
    }
}
