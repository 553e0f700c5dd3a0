//! A handler's view of the call that it serves, and the stages that handler and caller add to it.
//!
//! The channel puts an `Arc<ServerCall>` into the extensions of every request. A handler reads the trace context from
//! it and adds its own stages. The channel sends these stages back in `Trailers` and exports them. A caller adds its
//! stages through [`ClientStages`]. A program registers the stages of a mounted service with [`stage::register`].

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use opentelemetry::SpanId;

use crate::command::TracedCommand;
use crate::limits::HANDLER_STAGES_MAX;
use crate::record::{Anchor, StageRecord};
use crate::stage::{self, StageId, transport};
use crate::w3c::TraceContext;

/// A call, as its handler sees it.
#[derive(Debug)]
pub struct ServerCall {
    context: TraceContext,
    call_id: SpanId,
    anchor: Anchor,
    recording: bool,
    stages: Mutex<Vec<StageRecord>>,
    /// The relay's queue and forwarding of the request, in nanoseconds.
    relay_ns: [u64; 2],
    on_complete: Mutex<Option<OnComplete>>,
    /// A sink takes the call record.
    exported: bool,
    command: OnceLock<TracedCommand>,
    told: OnceLock<ToldStages>,
}

/// The stages of an earlier call, which a later one that continues its work tells its caller.
#[derive(Debug, Clone)]
pub struct ToldStages {
    /// The id of that call.
    pub call_id: SpanId,
    /// The anchor of that call.
    pub anchor: Anchor,
    /// Its stages so far, as [`ServerCall::stages_for_caller`] has them.
    pub stages: Vec<StageRecord>,
}

/// Stages that a caller adds to its own call during the call. Put one value for each call into the request's
/// extensions, and keep a clone.
///
/// Accepts only user-defined ids ([`stage::USER_IDS`]). The channel measures all other stages.
#[derive(Debug, Clone, Default)]
pub struct ClientStages(Arc<Mutex<Vec<Added>>>);

#[derive(Debug)]
struct Added {
    stage: StageId,
    start: Instant,
    end: Instant,
}

impl ClientStages {
    /// Adds an interval. Intervals beyond [`HANDLER_STAGES_MAX`] are dropped.
    pub fn record(&self, stage: StageId, start: Instant, end: Instant) {
        let mut added = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stage.is_user_defined() && added.len() < HANDLER_STAGES_MAX {
            added.push(Added { stage, start, end });
        }
    }

    /// Removes and returns the stages, clipped to the call, which began at `anchor` and ended at `end`. Stages outside
    /// the call are dropped.
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

/// Receives the stages of a call when no holder can add to them any more.
struct OnComplete(Box<dyn FnOnce(Vec<StageRecord>) + Send>);

impl fmt::Debug for OnComplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnComplete")
    }
}

impl ServerCall {
    /// A call in the trace of `inbound`. `call_id` distinguishes it from the other calls of the trace. If `recording`
    /// is false, stages are ignored at no cost, and the context is still propagated.
    pub fn new(inbound: &TraceContext, call_id: SpanId, anchor: Anchor, recording: bool) -> Self {
        let rpc = stage::span_id(inbound.trace_id, call_id, transport::RPC, 0);
        Self {
            context: inbound.with_span(rpc),
            call_id,
            anchor,
            recording,
            stages: Mutex::new(Vec::new()),
            relay_ns: [0; 2],
            on_complete: Mutex::new(None),
            exported: recording,
            command: OnceLock::new(),
            told: OnceLock::new(),
        }
    }

    /// Tells the caller these stages beside the `rpc` of its own: the caller measures both calls as one. They are
    /// exported by the earlier call alone. Later calls have no effect.
    pub fn tell(&self, told: ToldStages) {
        if self.recording {
            self.told.get_or_init(|| told);
        }
    }

    /// The stages of an earlier call that the caller is told.
    pub fn told(&self) -> Option<&ToldStages> {
        self.told.get()
    }

    /// Sets whether a sink takes the record of this call. If not, recorded stages are for its caller and its handler
    /// only.
    #[must_use]
    pub fn exported(mut self, exported: bool) -> Self {
        self.exported = exported;
        self
    }

    /// Sets how long the request was in the relay's queue, and how long the relay took to receive it. The caller exports
    /// both.
    #[must_use]
    pub fn relayed(mut self, queue_ns: u64, forward_ns: u64) -> Self {
        self.relay_ns = [queue_ns, forward_ns];
        self
    }

    /// Whether this call's stages are exported as spans, so that other spans can name them as parents.
    pub fn is_exported(&self) -> bool {
        self.exported
    }

    /// The context of the `rpc` span: the parent of every span that the handler starts.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The context of one of this call's stages, to propagate to work inside this stage.
    pub fn context_of(&self, stage: StageId) -> TraceContext {
        let id = stage::span_id(self.context.trace_id, self.call_id, stage, 0);
        self.context.with_span(id)
    }

    /// The id that the span ids of this call's stages are derived from. In a client that records the call, it is the id
    /// of the `call` span.
    pub fn call_id(&self) -> SpanId {
        self.call_id
    }

    /// The anchor of this call's stages: the arrival of its `Head`.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Whether stages are kept.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Sets the command that the call runs, which the server's `process` span describes. Later calls have no effect. If
    /// no sink takes the record, `command` is not evaluated.
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

    /// The stages that the caller is told: the relay's of the request, and the handler's so far. Of the relay's only the
    /// durations count: the caller estimates the positions.
    pub fn stages_for_caller(&self) -> Vec<StageRecord> {
        let mut stages = Vec::with_capacity(16);
        let relay = [transport::RELAY_QUEUE, transport::RELAY_FORWARD]
            .into_iter()
            .zip(self.relay_ns);
        stages.extend(relay.filter(|(_, ns)| *ns > 0).map(|(stage, ns)| StageRecord {
            stage,
            attempt: 0,
            start_ns: 0,
            end_ns: i64::try_from(ns).unwrap_or(i64::MAX),
            estimated: true,
        }));
        self.with_stages(|handlers| stages.extend_from_slice(handlers));
        stages
    }

    /// Passes the handler's stages so far to `look` without a copy. `look` must not use this call, because a lock is
    /// held.
    pub fn with_stages<T>(&self, look: impl FnOnce(&[StageRecord]) -> T) -> T {
        look(&self.stages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Passes the stages to `take` once this is the last reference to the call: now, unless work that the handler
    /// started outlives it, such as a process whose caller disconnected. Such work has propagated its span id, so the
    /// span must be exported. A later `take` replaces an earlier one.
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
    fn stages_are_delivered_when_the_last_reference_is_dropped() {
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
    fn stages_without_another_reference_are_delivered_at_once() {
        let (sender, stages) = mpsc::channel();
        let call = call();
        record(&call);
        call.on_complete(move |stages| sender.send(stages.len()).unwrap());
        assert_eq!(stages.try_recv(), Ok(1));
    }
}
