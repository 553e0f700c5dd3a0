//! Builds call records from stamps. The client also moves the server's stages onto its own clock.
//!
//! All values from the server or the relay are untrusted: counts are capped by the wire limit; durations and positions
//! are clamped to the interval between the client's own stamps.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use baton_export::clock;
use baton_mux::timings::{MalformedTimings, Timings};
use baton_mux::{RelayStamp, SentStamps, Stamps, rpc_stage, terminal_stages};
use baton_proto::exec::ExecError;
use baton_trace::SpanId;
use baton_trace::call::{ClientStages, ServerCall};
use baton_trace::clock::ClockOffset;
use baton_trace::command::{CallProgress, TracedCommand};
use baton_trace::outcome::{Outcome, StartFailure};
use baton_trace::record::{Anchor, CallRecord, ServerCallRef, Side, StageRecord};
use baton_trace::recorder::Recorder;
use baton_trace::stage::transport::{
    CLIENT_QUEUE, CLIENT_SEAL, CONNECT_DIAL, CONNECT_HANDSHAKE, CONNECT_PAIR, DISPATCH, RECOVER,
    RELAY_FORWARD, RELAY_QUEUE, TERMINAL_NOTIFY, TERMINAL_OPEN, TERMINAL_RELAY_FORWARD, TERMINAL_RELAY_QUEUE,
    TERMINAL_TRANSIT, TRANSIT,
};
use baton_trace::stage::{Component, StageId};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;
use http::HeaderMap;
use opentelemetry::KeyValue;
use tokio::sync::oneshot;

use super::session_state::StreamHandle;

pub(crate) use calls::RecordCalls;

mod calls;

/// When a connect started and when each of its steps ended, for the record of the call that waited for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectTimes {
    pub(crate) started: Instant,
    pub(crate) connected: Instant,
    pub(crate) paired: Instant,
    pub(crate) established: Instant,
}

/// A client's unfinished call record.
pub(crate) struct ClientDraft {
    pub(crate) anchor: Anchor,
    /// `span_id` is the id of the envelope.
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<SpanId>,
    pub(crate) method: Cow<'static, str>,
    /// Attributes, the command and stages that the caller and the session add.
    pub(crate) details: CallDetails,
    /// Present if this call waited for the connect.
    pub(crate) connect: Option<ConnectTimes>,
    /// When the latest data frame was handed to the caller.
    pub(crate) handed: Option<Instant>,
    /// The status, if the response had it in its headers.
    pub(crate) head_status: Option<i32>,
    /// Sends the record to the caller, if it asked for it.
    pub(crate) observer: Option<oneshot::Sender<CallRecord>>,
    /// The losses of the session, if the call was continued by another one.
    pub(crate) losses: Vec<Loss>,
    /// The stamps on the request of the call whose session was lost first.
    pub(crate) first_sent: Option<SentStamps>,
    /// The calls that continue the work.
    pub(crate) calls: RecordCalls,
}

/// A lost session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    at: Instant,
    /// When the call that continued the work got its first data.
    recovered: Option<Instant>,
}

/// A request extension: calls with clones of one envelope, made one after the other, have one call record. Each may only
/// begin when the one before has ended.
///
/// A call whose session is lost parks its unfinished record here, and the call that continues its work takes it. The
/// time between them is the stage `recover`. The record is finished by the call that ends in another way, or when the
/// last clone of the envelope is dropped.
#[derive(Clone, Default)]
pub struct Envelope(Arc<Mutex<Option<Parked>>>);

impl Envelope {
    /// An envelope that no call has used.
    pub fn new() -> Self {
        Self::default()
    }

    fn park(&self, parked: Parked) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(parked);
    }

    /// The unfinished record, for the call that continues the work.
    pub(super) fn resume(&self) -> Option<Box<ClientDraft>> {
        let parked = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        parked.and_then(Parked::resume)
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope")
    }
}

/// The unfinished record of a call whose session was lost. Dropping it finishes the record as that call would have.
struct Parked {
    /// Taken by the call that continues the work.
    unfinished: Option<(Box<ClientDraft>, CallProgress, RpcStatus)>,
    recorder: Recorder,
}

impl Parked {
    fn resume(mut self) -> Option<Box<ClientDraft>> {
        self.unfinished.take().map(|(draft, ..)| draft)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some((draft, progress, status)) = self.unfinished.take() {
            draft.finish(&Stamps::default(), None, None, progress, status, &self.recorder);
        }
    }
}

/// The part of a client's record that is not measured here.
#[derive(Default)]
pub(crate) struct CallDetails {
    pub(crate) attributes: Vec<KeyValue>,
    /// The command that the call runs.
    pub(crate) command: Option<TracedCommand>,
    /// Stages that the caller adds.
    pub(crate) stages: Option<ClientStages>,
    /// The server sent trailers.
    pub(crate) is_answered: bool,
}

/// The client's record of a call. It is finished exactly once: with the call's status, or as cancelled when the call is
/// dropped, in any state.
#[derive(Default)]
pub(super) struct Recording {
    /// Absent if neither the recorder nor the caller uses the record.
    pub(super) draft: Option<Box<ClientDraft>>,
    recorder: Recorder,
    /// Present once the call is sent.
    stream: Option<Arc<StreamHandle>>,
    /// Another call may continue the work of this one.
    envelope: Option<Envelope>,
}

impl Recording {
    pub(super) fn new(
        draft: Option<Box<ClientDraft>>,
        recorder: &Recorder,
        envelope: Option<Envelope>,
    ) -> Self {
        Self {
            draft,
            recorder: recorder.clone(),
            stream: None,
            envelope,
        }
    }

    /// Notes the time at which data was handed to the caller.
    pub(super) fn handed(&mut self, now: Instant) {
        if let Some(draft) = &mut self.draft {
            draft.handed = Some(now);
            if let Some(loss) = draft.losses.last_mut() {
                loss.recovered.get_or_insert(now);
            }
        }
    }

    /// Notes the stream of a call that was sent.
    pub(super) fn sent(&mut self, stream: &Arc<StreamHandle>, connect: Option<ConnectTimes>) {
        if let Some(draft) = &mut self.draft {
            if draft.losses.is_empty() {
                draft.connect = connect;
            }
            self.stream = Some(Arc::clone(stream));
        }
    }

    /// Notes why the command's call was not sent.
    pub(super) fn not_sent(&self, failure: StartFailure) {
        let command = self
            .draft
            .as_ref()
            .and_then(|draft| draft.details.command.as_ref());
        if let Some(command) = command {
            command.ended(Outcome::FailedToStart(failure));
        }
    }

    /// Notes why the server refused the command, if these headers or trailers tell.
    pub(super) fn refused(&self, headers: &HeaderMap) {
        let command = self
            .draft
            .as_ref()
            .and_then(|draft| draft.details.command.as_ref());
        let (Some(command), true) = (command, headers.contains_key("grpc-status-details-bin")) else {
            return;
        };
        let status = tonic::Status::from_header_map(headers);
        if let Some(error) = status.and_then(|status| ExecError::from_details(status.details())) {
            command.failed(error.kind());
        }
    }

    /// Builds the record when the call has ended, and passes it to the recorder and the caller. Only the first call has
    /// an effect. `timings` are the encoded timings from the server's trailers; `None`: the call was cut short before
    /// they arrived.
    pub(super) fn finish(&mut self, timings: Option<&[u8]>, status: i32) {
        let Some(mut draft) = self.draft.take() else {
            return;
        };
        let progress = match &self.stream {
            None if draft.losses.is_empty() => CallProgress::NotSent,
            // The call before was sent.
            None => CallProgress::CutShort,
            Some(_) if draft.details.is_answered => CallProgress::Answered,
            Some(stream) => match stream.session().ended().and_then(|error| error.closed_for()) {
                Some(by) => CallProgress::SessionClosed(by),
                None => CallProgress::CutShort,
            },
        };
        let status = RpcStatus(status);
        let stream = self.stream.take();
        let is_sent = stream.is_some();
        let is_lost = match &stream {
            Some(stream) => stream.session().ended().is_some_and(|error| error.is_loss()),
            // The call before was lost, and this one was not sent.
            None => !draft.losses.is_empty(),
        };
        let (stamps, clock) = stream.map_or_else(Default::default, |stream| stream.measured());
        let is_lost = is_lost && timings.is_none();
        // A call that continued the work and failed may be followed by another one, which starts it again.
        let has_failed = !draft.losses.is_empty() && status != RpcStatus(0);
        if (is_lost || has_failed)
            && let Some(envelope) = self.envelope.take()
        {
            if is_lost {
                draft.lose(is_sent.then_some(&stamps), clock::now());
            }
            envelope.park(Parked {
                unfinished: Some((draft, progress, status)),
                recorder: self.recorder.clone(),
            });
            return;
        }
        draft.finish(&stamps, timings, clock, progress, status, &self.recorder);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish(None, tonic::Code::Cancelled.into());
    }
}

impl ClientDraft {
    /// The call `call_id` continues the work.
    pub(super) fn continue_with(&mut self, call_id: SpanId, method: &str) {
        self.details.is_answered = false;
        self.calls.add(call_id, method);
    }

    /// The first call of the record.
    fn first_call(&self) -> ServerCallRef {
        ServerCallRef {
            call_id: self.context.span_id,
            method: self.method.clone(),
        }
    }

    /// The session was lost at `now`. `stamps`: those of the latest call; `None`: it was not sent.
    fn lose(&mut self, stamps: Option<&Stamps>, now: Instant) {
        if let Some(stamps) = stamps {
            self.first_sent.get_or_insert(stamps.head_sent);
            let first = self.first_call();
            self.calls.lose(first, stamps.head_sent.sealed);
        }
        self.handed = None;
        self.head_status = None;
        if self.losses.last().is_none_or(|loss| loss.recovered.is_some()) {
            self.losses.push(Loss {
                at: now,
                recovered: None,
            });
        }
    }

    /// Passes the record to the recorder and the caller.
    fn finish(
        mut self: Box<Self>,
        stamps: &Stamps,
        timings: Option<&[u8]>,
        clock: Option<ClockOffset>,
        progress: CallProgress,
        status: RpcStatus,
        recorder: &Recorder,
    ) {
        let command = self.details.command.take();
        let command = command.map(|command| Box::new(command.summary_of_call(progress, status)));
        let observer = self.observer.take();
        let record = CallRecord {
            command,
            ..self.build(stamps, timings, clock, clock::now(), status.0)
        };
        if let Some(observer) = observer {
            // Fails if the caller has dropped the receiver.
            let _ = observer.send(record.clone());
        }
        recorder.finish(record);
    }

    fn build(
        self,
        stamps: &Stamps,
        timings: Option<&[u8]>,
        clock: Option<ClockOffset>,
        end: Instant,
        status: i32,
    ) -> CallRecord {
        let anchor = self.anchor;
        let mut stages = Vec::with_capacity(24);
        let between = |stage, start, end| StageRecord::between(&anchor, stage, start, end);
        stages.push(between(baton_trace::stage::transport::CALL, anchor.instant, end));
        let sent = self.first_sent.unwrap_or(stamps.head_sent);
        if let Some(queued) = sent.queued {
            stages.push(between(DISPATCH, anchor.instant, queued));
        }
        if let Some(connect) = self.connect {
            // The connect may have begun before this call.
            let clip = |at: Instant| at.max(anchor.instant);
            for (stage, start, end) in [
                (CONNECT_DIAL, connect.started, connect.connected),
                (CONNECT_PAIR, connect.connected, connect.paired),
                (CONNECT_HANDSHAKE, connect.paired, connect.established),
            ] {
                if end > anchor.instant {
                    stages.push(between(stage, clip(start), end));
                }
            }
        }
        if let (Some(queued), Some(taken)) = (sent.queued, sent.taken) {
            stages.push(between(CLIENT_QUEUE, queued, taken));
        }
        if let (Some(taken), Some(sealed)) = (sent.taken, sent.sealed) {
            stages.push(between(CLIENT_SEAL, taken, sealed));
        }
        // The latest data frame of a call that was cut short is not its last.
        let last = stamps.last_data_received.filter(|_| timings.is_some());
        let (mut server_unix_ns, mut server_calls) = (None, Vec::new());
        if let (Some(sealed), Ok(timings)) = (sent.sealed, Timings::new(timings.unwrap_or_default())) {
            let first_loss = self.losses.first().map(|loss| loss.at);
            let is_of_latest = || {
                first_loss.is_some_and(|lost| {
                    let offset_ns = clock.map_or(0, |clock| clock.offset_ns);
                    timings
                        .received_unix_ns
                        .saturating_add_signed(offset_ns.saturating_neg())
                        > anchor.unix_ns_of(lost)
                })
            };
            let sealed_last = stamps.head_sent.sealed;
            let of = || self.calls.stages_of(self.first_call(), sealed_last, is_of_latest);
            let of = self.calls.is_continued().then(of).unwrap_or_default();
            server_calls = of.calls;
            let interval = WaitInterval {
                sent_ns: anchor.offset_ns(of.sealed.unwrap_or(sealed)),
                back_ns: anchor.offset_ns(last.map_or(end, |last| last.at)),
                answered: last.is_some(),
                relay_back: last.map(|last| last.relay).unwrap_or_default(),
            };
            let own = stages.len();
            match interval.place_server_stages(&anchor, timings, clock, &mut stages) {
                Ok(server) => server_unix_ns = Some(server),
                Err(MalformedTimings) => stages.truncate(own),
            }
        }
        if let Some(last) = last {
            stages.push(between(TERMINAL_OPEN, last.at, last.opened));
            if let Some(handed) = self.handed {
                stages.push(between(TERMINAL_NOTIFY, last.opened, handed));
            }
        }
        for (attempt, loss) in (0..=u8::MAX).zip(&self.losses) {
            stages.push(StageRecord {
                attempt,
                ..between(RECOVER, loss.at, loss.recovered.unwrap_or(end))
            });
        }
        if let Some(own) = &self.details.stages {
            stages.extend(own.take(&anchor, end));
        }
        CallRecord {
            side: Side::Client,
            context: self.context,
            parent: self.parent,
            links: Vec::new(),
            method: self.method,
            anchor,
            stages,
            status: RpcStatus(status),
            clock,
            server_unix_ns,
            server_calls,
            attributes: self.details.attributes,
            command: None,
        }
    }
}

/// The interval of a call in which the client only waits: from its last stamp on the request to its first stamp on the
/// last data frame of the response.
struct WaitInterval {
    sent_ns: i64,
    back_ns: i64,
    /// A data frame arrived, so there is a terminal transit.
    answered: bool,
    relay_back: RelayStamp,
}

impl WaitInterval {
    /// Places the server's stages between the two stamps. The sum of the two transits is exact. Their division is an
    /// estimate: the middle of the interval that the clock offset, its error and the relay's stamps allow. Returns when
    /// the server's stages began and ended on the server's own clock.
    ///
    /// On an error `stages` holds additional stages that are meaningless; the caller removes them.
    fn place_server_stages(
        &self,
        anchor: &Anchor,
        timings: Timings<'_>,
        clock: Option<ClockOffset>,
        stages: &mut Vec<StageRecord>,
    ) -> Result<Range<u64>, MalformedTimings> {
        let ns = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let received_unix_ns = timings.received_unix_ns;
        let first = stages.len();
        let mut relay_out = RelayStamp::default();
        let mut server_end = 0i64;
        for row in timings {
            let row = row?;
            let end_ns = ns(row.start_ns).saturating_add(ns(row.duration_ns));
            match row.stage {
                RELAY_QUEUE => relay_out.queue_ns = row.duration_ns,
                RELAY_FORWARD => relay_out.forward_ns = row.duration_ns,
                stage => {
                    server_end = server_end.max(end_ns);
                    if !is_accepted_from_server(stage) {
                        continue;
                    }
                    // Relative to the arrival of `Head`. Its position is computed after the loop, because it depends on
                    // all stages.
                    stages.push(StageRecord {
                        stage,
                        attempt: row.attempt,
                        start_ns: ns(row.start_ns),
                        end_ns,
                        estimated: false,
                    });
                }
            }
        }
        let slack = (self.back_ns - self.sent_ns).saturating_sub(server_end).max(0);
        let least = self.sent_ns + relay_total(relay_out).min(slack);
        let most = (self.sent_ns + slack - relay_total(self.relay_back).min(slack)).max(least);
        // Without a terminal transit, any time that the estimate takes from the transit would become remainder. If both
        // ends may have one clock, an offset of zero is more exact than the estimate.
        let one_clock = ClockOffset {
            offset_ns: 0,
            error_ns: 0,
        };
        let clock = clock.map(|clock| match !self.answered && clock.may_be_none() {
            true => one_clock,
            false => clock,
        });
        let base = match clock {
            Some(clock) => {
                let received =
                    i128::from(received_unix_ns) - i128::from(anchor.unix_ns) - i128::from(clock.offset_ns);
                let at = |error: i128| (received + error).clamp(least.into(), most.into()) as i64;
                let error = i128::from(clock.error_ns);
                at(-error).midpoint(at(error))
            }
            None => least.midpoint(most),
        };
        let clamp = |at: i64| at.clamp(self.sent_ns, self.back_ns);
        for stage in &mut stages[first..] {
            stage.start_ns = clamp(base.saturating_add(stage.start_ns));
            stage.end_ns = clamp(base.saturating_add(stage.end_ns));
        }
        let ids = [TRANSIT, RELAY_QUEUE, RELAY_FORWARD];
        push_transit(stages, ids, self.sent_ns, clamp(base), relay_out);
        if self.answered {
            let start = clamp(base.saturating_add(server_end));
            let ids = [TERMINAL_TRANSIT, TERMINAL_RELAY_QUEUE, TERMINAL_RELAY_FORWARD];
            push_transit(stages, ids, start, self.back_ns, self.relay_back);
        }
        let end_unix_ns = received_unix_ns.saturating_add(server_end.unsigned_abs());
        Ok(received_unix_ns..end_unix_ns)
    }
}

/// Whether a client accepts a stage from a server: only stages that a server measures. A stage without a row in the
/// stage table was registered by the server alone, or belongs to a later version: it is drawn as unknown and never
/// covers. No stage has the id 0 or 255.
fn is_accepted_from_server(stage: StageId) -> bool {
    match stage.def() {
        Some(def) => def.exporter == Component::Server && !stage.is_background(),
        None => !matches!(stage.0, 0 | u8::MAX),
    }
}

fn relay_total(stamp: RelayStamp) -> i64 {
    i64::try_from(stamp.queue_ns.saturating_add(stamp.forward_ns)).unwrap_or(i64::MAX)
}

/// Adds a transit and its two relay stages, clamped to it and placed in its middle. A relay stage of length zero is
/// omitted.
fn push_transit(
    stages: &mut Vec<StageRecord>,
    [transit, queue, forward]: [StageId; 3],
    start_ns: i64,
    end_ns: i64,
    relay: RelayStamp,
) {
    let end_ns = end_ns.max(start_ns);
    stages.push(StageRecord {
        stage: transit,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: false,
    });
    let room = end_ns - start_ns;
    let clamped = |ns: u64, room: i64| i64::try_from(ns).unwrap_or(i64::MAX).min(room);
    let forward_ns = clamped(relay.forward_ns, room);
    let queue_ns = clamped(relay.queue_ns, room - forward_ns);
    let start = start_ns + (room - forward_ns - queue_ns) / 2;
    let middle = start + forward_ns;
    let estimated = |stage, start_ns, end_ns| StageRecord {
        stage,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: true,
    };
    let relay = [
        estimated(forward, start, middle),
        estimated(queue, middle, middle + queue_ns),
    ];
    stages.extend(relay.into_iter().filter(|stage| stage.duration_ns() > 0));
}

/// A server's record that lacks the handler's stages and the stamps of the last data frame. It is finished exactly
/// once: with both, or without the stamps if the call or its session ends first. The parent span of the handler's and
/// the process's spans is exported in both cases.
pub(crate) struct ServerDraft {
    /// The record, without stages, and the call. Taken when the record is finished.
    unfinished: Option<(CallRecord, Arc<ServerCall>)>,
    recorder: Recorder,
}

impl ServerDraft {
    pub(crate) fn new(record: CallRecord, call: Arc<ServerCall>, recorder: &Recorder) -> Self {
        Self {
            unfinished: Some((record, call)),
            recorder: recorder.clone(),
        }
    }

    /// Adds the writer's stamps and passes the record to the recorder.
    pub(crate) fn complete(mut self, last_data: &SentStamps) {
        self.finish(Some(last_data));
    }

    fn finish(&mut self, last_data: Option<&SentStamps>) {
        let Some((mut record, call)) = self.unfinished.take() else {
            return;
        };
        let cut_short = || SentStamps {
            sealed: Some(clock::now()),
            ..SentStamps::default()
        };
        let sent = last_data.copied().unwrap_or_else(cut_short);
        let recorder = self.recorder.clone();
        let command = call.command().cloned();
        call.on_complete(move |stages| {
            // Stages that end after a call was cut short belong to it too.
            record.stages.reserve_exact(stages.len() + 3);
            record
                .stages
                .push(rpc_stage(&record.anchor, &sent, stages.iter()));
            record.stages.extend(terminal_stages(&record.anchor, &sent));
            record.stages.extend(stages);
            record.command = command.map(|command| Box::new(command.summary()));
            recorder.finish(record);
        });
    }
}

impl Drop for ServerDraft {
    fn drop(&mut self) {
        self.finish(None);
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use baton_mux::timings::{Row, encode};
    use std::time::Duration;

    use baton_mux::ReceivedStamps;
    use baton_trace::recorder::CollectingSink;
    use baton_trace::report::Coverage;
    use baton_trace::stage::exec::PROCESS;
    use baton_trace::stage::transport::{CALL, RPC, SERVER_OPEN, TERMINAL_SEAL};
    use proptest::prelude::*;

    use super::*;

    const US: u64 = 1_000;

    fn draft(anchor: Anchor) -> ClientDraft {
        ClientDraft {
            anchor,
            context: TraceContext::new_root(true),
            parent: None,
            method: "a.B/C".into(),
            details: CallDetails::default(),
            connect: None,
            handed: None,
            head_status: None,
            observer: None,
            losses: Vec::new(),
            first_sent: None,
            calls: RecordCalls::default(),
        }
    }

    fn timing(stage: StageId, start_us: u64, duration_us: u64) -> Row {
        Row {
            stage,
            start_ns: start_us * US,
            duration_ns: duration_us * US,
            attempt: 0,
        }
    }

    /// Stamps of a call that is sent after 30 µs, answered after 530 µs, and ends after 560 µs.
    fn stamps(anchor: &Anchor, relay: RelayStamp) -> (Stamps, Instant) {
        let at = |us| anchor.instant + Duration::from_micros(us);
        let stamps = Stamps {
            head_sent: SentStamps {
                queued: Some(at(10)),
                taken: Some(at(20)),
                sealed: Some(at(30)),
            },
            last_data_received: Some(ReceivedStamps {
                at: at(530),
                opened: at(540),
                relay,
            }),
            ..Stamps::default()
        };
        (stamps, at(560))
    }

    fn span(record: &CallRecord, stage: StageId) -> (i64, i64) {
        let stage = record.stage(stage).unwrap();
        (stage.start_ns / 1_000, stage.end_ns / 1_000)
    }

    /// A server's draft and its handler's call.
    fn server_draft(anchor: Anchor, recorder: &Recorder) -> (ServerDraft, Arc<ServerCall>) {
        let context = TraceContext::new_root(true);
        let call = Arc::new(ServerCall::new(&context, context.span_id, anchor, true));
        let record = CallRecord {
            side: Side::Server,
            context,
            parent: None,
            links: Vec::new(),
            method: "a.B/C".into(),
            anchor,
            stages: Vec::new(),
            status: RpcStatus(0),
            clock: None,
            server_unix_ns: None,
            server_calls: Vec::new(),
            attributes: Vec::new(),
            command: None,
        };
        (ServerDraft::new(record, Arc::clone(&call), recorder), call)
    }

    #[test]
    fn a_servers_draft_is_recorded_once_whether_its_answer_was_sent_or_not() {
        let records = Arc::new(CollectingSink::default());
        let recorder = Recorder::to(records.clone());
        let anchor = clock::anchor();
        let sent = SentStamps {
            queued: Some(anchor.instant),
            taken: Some(anchor.instant),
            sealed: Some(anchor.instant),
        };
        let sealed = anchor.instant + Duration::from_micros(90);
        let sent = SentStamps {
            sealed: Some(sealed),
            ..sent
        };
        server_draft(anchor, &recorder).0.complete(&sent);
        let completed = records.take();
        assert_eq!(completed.len(), 1);
        assert_eq!(span(&completed[0], TERMINAL_SEAL), (0, 90));
        assert_eq!(
            span(&completed[0], RPC),
            (0, 90),
            "from the arrival to the end of the answer"
        );
        // A session that ends with the trailers still queued drops the draft.
        drop(server_draft(anchor, &recorder).0);
        let dropped = records.take();
        assert_eq!(dropped.len(), 1);
        assert!(dropped[0].stage(TERMINAL_SEAL).is_none());
    }

    #[test]
    fn a_call_that_was_cut_short_is_recorded_when_its_process_has_ended() {
        let records = Arc::new(CollectingSink::default());
        let anchor = clock::anchor();
        let (draft, call) = server_draft(anchor, &Recorder::to(records.clone()));
        drop(draft);
        assert!(records.take().is_empty(), "its process still runs");
        let killed = anchor.instant + Duration::from_millis(200);
        call.record(PROCESS, anchor.instant, killed);
        drop(call);
        let [record] = &records.take()[..] else {
            panic!("the call is recorded once");
        };
        assert_eq!(span(record, PROCESS), (0, 200_000));
        assert_eq!(span(record, RPC), (0, 200_000), "around its process");
    }

    #[test]
    fn the_clock_offset_positions_the_servers_stages() {
        let anchor = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let (stamps, end) = stamps(
            &anchor,
            RelayStamp {
                queue_ns: 10 * US,
                forward_ns: 20 * US,
            },
        );
        // The server's clock is 5 ms ahead; the request arrived 80 µs after the call began.
        let rows = [
            timing(SERVER_OPEN, 0, 5),
            timing(RPC, 10, 380),
            timing(TERMINAL_SEAL, 395, 5),
            timing(RELAY_QUEUE, 0, 4),
            timing(RELAY_FORWARD, 0, 6),
        ];
        let timings = encode(anchor.unix_ns + 80 * US + 5_000 * US, rows.into_iter());
        let clock = ClockOffset {
            offset_ns: 5_000_000,
            error_ns: 1_000,
        };
        let record = draft(anchor).build(&stamps, Some(&timings), Some(clock), end, 0);
        assert_eq!(span(&record, CALL), (0, 560));
        assert_eq!(span(&record, TRANSIT), (30, 80));
        assert_eq!(span(&record, RELAY_FORWARD), (50, 56));
        assert_eq!(span(&record, RELAY_QUEUE), (56, 60));
        assert_eq!(span(&record, SERVER_OPEN), (80, 85));
        assert_eq!(span(&record, RPC), (90, 470));
        assert_eq!(span(&record, TERMINAL_TRANSIT), (480, 530));
        assert!(record.stage(RELAY_QUEUE).unwrap().estimated);
    }

    #[test]
    fn a_call_that_was_cut_short_has_no_terminal_stage_of_an_earlier_frame() {
        let anchor = clock::anchor();
        let (stamps, end) = stamps(&anchor, RelayStamp::default());
        let handed = |mut draft: ClientDraft| {
            draft.handed = Some(end);
            draft
        };
        let ended = handed(draft(anchor)).build(&stamps, Some(&[]), None, end, 0);
        assert!(ended.stage(TERMINAL_OPEN).is_some() && ended.stage(TERMINAL_NOTIFY).is_some());
        let cut = handed(draft(anchor)).build(&stamps, None, None, end, 1);
        let stages: Vec<_> = cut.stages.iter().map(|stage| stage.stage).collect();
        assert_eq!(stages, [CALL, DISPATCH, CLIENT_QUEUE, CLIENT_SEAL]);
    }

    #[test]
    fn a_call_that_was_not_sent_is_all_remainder() {
        let anchor = clock::anchor();
        let end = anchor.instant + Duration::from_secs(5);
        let record = draft(anchor).build(&Stamps::default(), None, None, end, 14);
        assert_eq!(record.stages.len(), 1, "{:?}", record.stages);
        assert_eq!(Coverage::of(&record).remainder_ns(), 5_000_000_000);
    }

    #[test]
    fn a_relay_stage_without_length_is_absent() {
        let anchor = clock::anchor();
        for (stamp, back) in [((0, 5), 5), ((5, 0), 5), ((0, 0), 0)] {
            let (queue_ns, forward_ns) = (stamp.0 * US, stamp.1 * US);
            let (stamps, end) = stamps(&anchor, RelayStamp { queue_ns, forward_ns });
            let rows = [
                timing(RPC, 0, 400),
                timing(RELAY_QUEUE, 0, stamp.0),
                timing(RELAY_FORWARD, 0, stamp.1),
            ];
            let timings = encode(anchor.unix_ns, rows.into_iter());
            let record = draft(anchor).build(&stamps, Some(&timings), None, end, 0);
            for stages in [
                [RELAY_QUEUE, RELAY_FORWARD],
                [TERMINAL_RELAY_QUEUE, TERMINAL_RELAY_FORWARD],
            ] {
                let lengths = stages.map(|stage| record.stage(stage).map(StageRecord::duration_ns));
                assert_eq!(lengths.into_iter().flatten().sum::<u64>(), back * US);
                assert!(!lengths.contains(&Some(0)), "{lengths:?}");
            }
        }
    }

    #[test]
    fn without_a_terminal_transit_the_transit_ends_at_the_servers_stamp_if_both_may_have_one_clock() {
        let anchor = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let (mut stamps, end) = stamps(&anchor, RelayStamp::default());
        stamps.last_data_received = None;
        let timings = encode(anchor.unix_ns + 70 * US, [timing(RPC, 0, 200)].into_iter());
        for (offset_ns, received) in [(30_000, 70), (-30_000, 70), (-60_000, 130)] {
            let clock = ClockOffset {
                offset_ns,
                error_ns: 40_000,
            };
            let record = draft(anchor).build(&stamps, Some(&timings), Some(clock), end, 5);
            assert_eq!(span(&record, TRANSIT), (30, received), "{offset_ns}");
            assert!(record.stage(TERMINAL_TRANSIT).is_none());
        }
    }

    #[test]
    fn the_record_keeps_the_servers_own_stamps() {
        let anchor = clock::anchor();
        let (stamps, end) = stamps(&anchor, RelayStamp::default());
        let rows = [timing(RPC, 0, 400), timing(PROCESS, 5, 380)];
        let timings = encode(1_000_000, rows.into_iter());
        let record = draft(anchor).build(&stamps, Some(&timings), None, end, 0);
        assert_eq!(record.server_unix_ns, Some(1_000_000..1_400_000));
        assert_eq!(
            draft(anchor).build(&stamps, None, None, end, 0).server_unix_ns,
            None
        );
    }

    #[test]
    fn malformed_timings_add_no_stage() {
        let anchor = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let (stamps, end) = stamps(&anchor, RelayStamp::default());
        let mut timings = encode(
            anchor.unix_ns,
            [timing(RPC, 0, 400), timing(PROCESS, 0, 400)].into_iter(),
        );
        let none = draft(anchor).build(&stamps, Some(&[]), None, end, 0).stages;
        for whole in [true, false] {
            let stages = draft(anchor).build(&stamps, Some(&timings), None, end, 0).stages;
            assert_eq!(stages == none, !whole, "{stages:?}");
            timings.pop();
        }
    }

    #[test]
    fn a_wrong_clock_moves_no_server_stage_out_of_its_interval() {
        let anchor = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let (stamps, end) = stamps(&anchor, RelayStamp::default());
        for received_unix_ns in [0, anchor.unix_ns, u64::MAX] {
            let timings = encode(received_unix_ns, [timing(PROCESS, 0, 400)].into_iter());
            let record = draft(anchor).build(&stamps, Some(&timings), None, end, 0);
            let (start, stop) = span(&record, PROCESS);
            assert!(
                start >= 30 && stop <= 530 && stop - start == 400,
                "{start} {stop}"
            );
        }
    }

    proptest! {
        /// Every stage lies inside the envelope, for any values from the server and the relay.
        #[test]
        fn no_claim_places_a_stage_outside_the_envelope(
            received_unix_ns: u64,
            offset_ns: i64,
            queue_ns: u64,
            forward_ns: u64,
            claims in prop::collection::vec(any::<(u8, u64, u64, u8)>(), 0..20),
        ) {
            let anchor = Anchor { instant: Instant::now(), unix_ns: 1_000_000_000 };
            let (stamps, end) = stamps(&anchor, RelayStamp { queue_ns, forward_ns });
            let rows = claims
                .into_iter()
                .map(|(stage, start_ns, duration_ns, attempt)| Row { stage: StageId(stage % 45), start_ns, duration_ns, attempt });
            let clock = ClockOffset { offset_ns, error_ns: 0 };
            let timings = encode(received_unix_ns, rows);
            let record = draft(anchor).build(&stamps, Some(&timings), Some(clock), end, 0);
            for stage in &record.stages {
                prop_assert!(0 <= stage.start_ns && stage.start_ns <= stage.end_ns && stage.end_ns <= 560_000, "{stage:?}");
            }
        }
    }
}
