//! The client's side of a call: one stream, its request body, its response, and its record.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use baton_export::bridge;
use baton_export::clock;
use baton_mux::StreamError;
use baton_proto::channel::Head;
use baton_trace::TraceId;
use baton_trace::call::ClientStages;
use baton_trace::command::TracedCommand;
use baton_trace::outcome::StartFailure;
use baton_trace::record::CallRecord;
use baton_trace::recorder::Recorder;
use baton_trace::stage;
use baton_trace::w3c::{self, ExtractedContext, TraceContext};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use opentelemetry::KeyValue;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;

use super::body::{ResponseBody, grpc_status};
use super::metadata;
use super::record::{CallDetails, ClientDraft, ConnectTimes, Envelope, RecordCalls, Recording};
use super::session_state::{SessionState, StreamHandle};

/// A request extension through which the caller receives the finished record of one call.
#[derive(Debug, Clone)]
pub struct RecordTo(Arc<RecordSlot>);

#[derive(Debug)]
struct RecordSlot {
    sender: Mutex<Option<oneshot::Sender<CallRecord>>>,
    trace_id: OnceLock<TraceId>,
}

impl RecordTo {
    /// The extension, and the receiver of the record, which is sent when the call has ended.
    pub fn channel() -> (Self, oneshot::Receiver<CallRecord>) {
        let (sender, receiver) = oneshot::channel();
        let slot = RecordSlot {
            sender: Mutex::new(Some(sender)),
            trace_id: OnceLock::new(),
        };
        (Self(Arc::new(slot)), receiver)
    }

    /// The trace that the call belongs to, once the call was made.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.trace_id.get().copied()
    }

    fn take(&self) -> Option<oneshot::Sender<CallRecord>> {
        let mut sender = self.0.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.take()
    }
}

/// A call that has not been sent. Dropping it records the call as cancelled.
pub(crate) struct Call {
    head: Head,
    /// When the call times out.
    deadline: Option<Instant>,
    recording: Recording,
    body: Body,
}

impl Call {
    /// Prepares a call of `request`. If `recorder` is on, or if the extensions hold a [`RecordTo`], the call gets an
    /// envelope span with the attributes of `relay`: the root of a new trace, or a child of the caller's span. A
    /// [`TracedCommand`] in the extensions names the command that the call runs.
    pub(crate) fn new(
        request: http::Request<Body>,
        recorder: &Recorder,
        relay: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let (mut parts, body) = request.into_parts();
        let record_to = parts.extensions.remove::<RecordTo>();
        let observer = record_to.as_ref().and_then(RecordTo::take);
        let recording = recorder.is_on() || observer.is_some();
        stage::close_registration();
        let anchor = clock::call_anchor();
        let caller = caller_context(&mut parts);
        let envelope = parts.extensions.remove::<Envelope>();
        let continued = envelope.as_ref().and_then(Envelope::resume);
        let path = parts.uri.path().to_owned();
        let method = path.trim_start_matches('/');
        let call_id = w3c::random_span_id();
        let draft = match continued {
            Some(mut draft) => {
                draft.context.inject(&mut parts.headers);
                draft.continue_with(call_id, method);
                Some(draft)
            }
            None => recording.then(|| {
                let parent = caller.context.as_ref().map(|context| context.span_id);
                let is_sampled = caller.context.as_ref().map(TraceContext::is_sampled);
                let mut context = caller.clone().continue_or_start(true).with_span(call_id);
                recorder.sampler().decide(&mut context, is_sampled);
                context.inject(&mut parts.headers);
                if let Some(record_to) = &record_to {
                    // Of the first call with it.
                    let _ = record_to.0.trace_id.set(context.trace_id);
                }
                Box::new(ClientDraft {
                    anchor,
                    context,
                    parent,
                    method: method.to_owned().into(),
                    details: CallDetails {
                        attributes: relay(),
                        command: parts.extensions.remove::<TracedCommand>(),
                        stages: parts.extensions.remove::<ClientStages>(),
                        is_answered: false,
                    },
                    connect: None,
                    handed: None,
                    head_status: None,
                    observer,
                    losses: Vec::new(),
                    first_sent: None,
                    calls: RecordCalls::default(),
                })
            }),
        };
        if draft.is_none() {
            caller.inject(&mut parts.headers);
        }
        let timeout_ns = metadata::timeout_ns(&parts.headers).unwrap_or(0);
        let head = Head {
            path,
            timeout_ns,
            timings: draft.is_some(),
            window: baton_mux::limits::RECEIVE_WINDOW,
            metadata: metadata::from_headers(&parts.headers),
            call_id: u64::from_be_bytes(call_id.to_bytes()),
        };
        Self {
            head,
            deadline: baton_mux::deadline(anchor.instant, timeout_ns),
            recording: Recording::new(draft, recorder, envelope),
            body,
        }
    }

    /// When the call times out.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Records the call as failed with `status` before it was sent; `failure`: why there is no session, if that is why.
    pub(crate) fn fail(mut self, status: &Status, failure: Option<StartFailure>) {
        if let Some(failure) = failure {
            self.recording.not_sent(failure);
        }
        self.recording.finish(None, status.code().into());
    }

    /// Sends the call over an established session. After an error nothing was sent, and the call may be retried.
    /// Cancellation safe: nothing is sent before it returns.
    pub(crate) async fn start(
        &mut self,
        session: &Arc<SessionState>,
        connect: Option<ConnectTimes>,
    ) -> Result<Started, StreamError> {
        if let Some(deadline) = self.deadline {
            // The time that is left after the connect. 0 would mean no deadline.
            let left = deadline.saturating_duration_since(clock::now()).as_nanos();
            self.head.timeout_ns = u64::try_from(left).unwrap_or(u64::MAX).max(1);
        }
        let stream = Arc::new(session.open(&self.head, self.deadline).await?);
        let mut recording = std::mem::take(&mut self.recording);
        recording.sent(&stream, connect);
        let body = std::mem::take(&mut self.body);
        let pump = Pump::start(body, Arc::clone(&stream)).await;
        Ok(Started {
            stream,
            recording,
            pump,
        })
    }
}

/// The caller's trace context: from the request's extensions, from its metadata, or from the current span.
fn caller_context(parts: &mut http::request::Parts) -> ExtractedContext {
    if let Some(context) = parts.extensions.remove::<ExtractedContext>() {
        return context;
    }
    if let Some(context) = parts.extensions.remove::<TraceContext>() {
        return context.into();
    }
    let extracted = TraceContext::extract(&parts.headers);
    if extracted.context.is_some() {
        return extracted;
    }
    let current = bridge::current();
    if current.context.is_some() {
        current
    } else {
        extracted
    }
}

/// A call that was sent.
pub(crate) struct Started {
    stream: Arc<StreamHandle>,
    recording: Recording,
    pump: Pump,
}

impl Started {
    /// Waits for the head of the response. If the head already holds the status, also waits for the trailers: the
    /// caller does not read them, but the record needs their timings. Dropping the future cancels the call.
    pub(crate) async fn response(self) -> Result<http::Response<ResponseBody>, Status> {
        let Self {
            stream,
            mut recording,
            pump,
        } = self;
        let head = poll_fn(|cx| stream.poll_head(cx)).await;
        let headers = head.and_then(|head| {
            let malformed = || Status::internal("the exec-server sent malformed response metadata");
            metadata::to_headers(head.metadata).ok_or_else(malformed)
        });
        let headers = headers.inspect_err(|status| recording.finish(None, status.code().into()))?;
        let status = grpc_status(&headers);
        if let Some(draft) = &mut recording.draft {
            draft.head_status = status;
        }
        recording.refused(&headers);
        let mut body = ResponseBody::new(stream, recording, pump);
        if status.is_some() {
            body.read_ahead().await;
        }
        let mut response = http::Response::new(body);
        *response.headers_mut() = headers;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(response)
    }
}

/// Sends a request's body over its stream. Dropping it stops the transfer.
pub(super) struct Pump(Option<AbortHandle>);

impl Pump {
    /// Sends the data that the body has ready with the `Head`, in one message. Only a body that is not ready gets a
    /// task.
    async fn start(body: Body, stream: Arc<StreamHandle>) -> Self {
        let mut pump: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(pump(body, stream));
        let ready = poll_fn(|cx: &mut Context<'_>| Poll::Ready(pump.as_mut().poll(cx).is_ready())).await;
        Self((!ready).then(|| tokio::spawn(pump).abort_handle()))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn pump(mut body: Body, stream: Arc<StreamHandle>) {
    // A stream that has ended accepts no data; the response tells the caller why.
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            stream.reset(baton_mux::code::CANCELLED);
            return;
        };
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
            && (stream.room().await.is_err() || stream.send_data(data, false).is_err())
        {
            return;
        }
    }
    let _ = stream.send_data(bytes::Bytes::new(), true);
}
