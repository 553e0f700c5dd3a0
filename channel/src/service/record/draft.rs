//! A client's unfinished record, and how it becomes a record.

use std::borrow::Cow;
use std::time::Instant;

use baton_export::clock;
use baton_mux::timings::{MalformedTimings, Timings};
use baton_mux::{SentStamps, Stamps};
use baton_trace::SpanId;
use baton_trace::call::ClientStages;
use baton_trace::clock::ClockOffset;
use baton_trace::command::{CallProgress, TracedCommand};
use baton_trace::record::{Anchor, CallRecord, ServerCallRef, Side, StageRecord};
use baton_trace::recorder::Recorder;
use baton_trace::stage::transport::{
    CALL, CLIENT_QUEUE, CLIENT_SEAL, CONNECT_DIAL, CONNECT_HANDSHAKE, CONNECT_PAIR, DISPATCH, RECOVER,
    TERMINAL_NOTIFY, TERMINAL_OPEN,
};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;
use opentelemetry::KeyValue;
use tokio::sync::oneshot;

use super::calls::RecordCalls;
use super::placing::WaitInterval;

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
    pub(super) at: Instant,
    /// When the call that continued the work got its first data.
    pub(super) recovered: Option<Instant>,
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

impl ClientDraft {
    /// The call `call_id` continues the work.
    pub(in crate::service) fn continue_with(&mut self, call_id: SpanId, method: &str) {
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
    pub(super) fn lose(&mut self, stamps: Option<&Stamps>, now: Instant) {
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
    pub(super) fn finish(
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

    pub(super) fn build(
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
        stages.push(between(CALL, anchor.instant, end));
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
