//! The server's side of a call: one task that runs the handler and sends its response.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use baton_export::bridge;
use baton_export::clock;
use baton_mux::{Continuation, ReceivedStamps, TimingsDraft, code};
use baton_proto::channel::Head;
use baton_trace::SpanId;
use baton_trace::attribute;
use baton_trace::call::ServerCall;
use baton_trace::call_end::{CallDeadline, CallEnd};
use baton_trace::record::{Anchor, CallRecord, Side};
use baton_trace::recorder::Recorder;
use baton_trace::stage;
use baton_trace::stage::transport::{SERVER_OPEN, SERVER_QUEUE};
use baton_trace::status::RpcStatus;
use baton_trace::text::hint;
use baton_trace::w3c::{self, TraceContext};
use http::HeaderValue;
use http::header::{CONTENT_TYPE, TE};
use http_body_util::BodyExt;
use opentelemetry::KeyValue;
use opentelemetry::trace::FutureExt;
use tonic::Status;
use tonic::body::Body;

use super::body::{RequestBody, grpc_status};
use super::metadata;
use super::record::ServerDraft;
use super::session_state::StreamHandle;
use crate::allow::Peer;

/// Any tonic service, which handles a session's calls.
pub trait Service:
    tower_service::Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Service for S where
    S: tower_service::Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves one stream in a task of its own.
pub(crate) fn spawn(stream: StreamHandle, service: impl Service, peer: Arc<Peer>) {
    let id = stream.id();
    let session = Arc::clone(stream.session());
    let task = tokio::spawn(serve(stream, service, peer));
    session.serving(id, task.abort_handle());
}

async fn serve(stream: StreamHandle, mut service: impl Service, peer: Arc<Peer>) {
    let stream = Arc::new(stream);
    // `Head` and its stamp existed when the stream was announced. A reset may have arrived since, and no further event
    // reports it.
    let Ok(Some((head, arrival))) = stream.with_mux(|mux| {
        if mux.is_reset(stream.id()) {
            return None;
        }
        let arrival = mux.stamps(stream.id())?.head_received?;
        Some((mux.take_head(stream.id())?, arrival))
    }) else {
        return;
    };
    let wants_timings = head.timings;
    let Some(inbound) = Inbound::new(&stream, head, arrival, &peer) else {
        let status = Status::invalid_argument("malformed request metadata");
        return respond(&stream, status.into_http(), Serving::unrecorded(&stream)).await;
    };
    let Inbound {
        mut request,
        call,
        trace,
    } = inbound;
    // A counted reference, not a copy.
    let uri = request.uri().clone();
    call.record(SERVER_OPEN, arrival.at, arrival.opened);
    call.record(SERVER_QUEUE, arrival.opened, clock::now());
    request.extensions_mut().insert(Arc::clone(&call));
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(stream.end());
    let serving = Serving {
        stream: Arc::clone(&stream),
        inputs: Some(RecordInputs {
            call: Arc::clone(&call),
            trace,
            wants_timings,
        }),
    };
    // The handler produces its response while it is sent, so both run inside the handler's context.
    let context = bridge::attach(call.context());
    let handler = async {
        let response = match std::future::poll_fn(|cx| service.poll_ready(cx)).await {
            Ok(()) => service.call(request).await,
        };
        let Ok(response) = response;
        respond(&stream, with_method_name(response, uri.path()), serving).await;
    };
    handler.with_context(context).await;
}

/// Adds a message with the method's name to tonic's answer for an unknown method, which has none.
fn with_method_name(response: http::Response<Body>, path: &str) -> http::Response<Body> {
    let headers = response.headers();
    let is_unknown = grpc_status(headers) == Some(tonic::Code::Unimplemented.into());
    if !is_unknown || headers.contains_key("grpc-message") {
        return response;
    }
    Status::unimplemented(format!("this exec-server has no method {}", hint(path))).into_http()
}

/// A call that its handler serves. If it is dropped before its end, the call was cut short: by the caller, by its
/// deadline, with its session, or by a panic of the handler. It is recorded even then, because it is the parent of the
/// spans that the handler opened.
struct Serving {
    stream: Arc<StreamHandle>,
    inputs: Option<RecordInputs>,
}

impl Serving {
    /// A call that did not reach its handler.
    fn unrecorded(stream: &Arc<StreamHandle>) -> Self {
        Self {
            stream: Arc::clone(stream),
            inputs: None,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stream.reset(code::INTERNAL);
        }
        let Some(inputs) = self.inputs.take() else {
            return;
        };
        let status = self.stream.cut_short().code();
        // Nothing is sent any more. Dropping the draft passes the record to the recorder.
        let end = self.stream.end().get();
        drop(inputs.into_drafts(status.into(), end, self.stream.session().recorder()));
    }
}

/// A request, ready for its handler.
struct Inbound {
    request: http::Request<Body>,
    call: Arc<ServerCall>,
    trace: CallerTrace,
}

/// The caller's trace, for the server's record.
struct CallerTrace {
    /// `span_id` is the call id.
    context: TraceContext,
    /// The span that `traceparent` names, unless the trace starts here.
    parent: Option<SpanId>,
    link: Option<TraceContext>,
    method: String,
}

impl Inbound {
    fn new(stream: &Arc<StreamHandle>, head: Head, arrival: ReceivedStamps, peer: &Peer) -> Option<Self> {
        let mut headers = metadata::to_headers(head.metadata)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let uri = http::Uri::try_from(head.path.as_str()).ok()?;
        let method = uri.path().trim_start_matches('/').to_owned();

        let extracted = TraceContext::extract(&headers);
        let is_known = extracted.context.is_some();
        let (mut context, link) = peer.admit(extracted);
        let parent = (is_known && link.is_none()).then_some(context.span_id);
        let call_id = match head.call_id {
            0 => w3c::random_span_id(),
            id => SpanId::from(id),
        };
        let recorder = stream.session().recorder();
        recorder.sampler().limit(&mut context);
        let exported = recorder.is_on() && context.is_sampled();
        let recording = head.timings || recorder.keeps_stages() || exported;
        let anchor = anchor_at(arrival.at);
        stage::close_registration();
        let call = ServerCall::new(&context, call_id, anchor, recording)
            .exported(exported)
            .relayed(arrival.relay.queue_ns, arrival.relay.forward_ns);

        let mut request = http::Request::new(Body::new(RequestBody::new(Arc::clone(stream))));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = headers;
        if let Some(deadline) = baton_mux::deadline(arrival.at, head.timeout_ns) {
            request.extensions_mut().insert(CallDeadline(deadline));
        }
        Some(Self {
            request,
            call: Arc::new(call),
            trace: CallerTrace {
                context: TraceContext {
                    span_id: call_id,
                    ..context
                },
                parent,
                link,
                method,
            },
        })
    }
}

/// Both clocks at `at`, which is shortly before now.
fn anchor_at(at: Instant) -> Anchor {
    let now = clock::call_anchor();
    Anchor {
        instant: at,
        unix_ns: now.unix_ns_of(at),
    }
}

/// The data that completes the record of a call once its last frame is queued.
struct RecordInputs {
    call: Arc<ServerCall>,
    trace: CallerTrace,
    wants_timings: bool,
}

impl RecordInputs {
    fn into_drafts(
        self,
        status: i32,
        end: Option<CallEnd>,
        recorder: &Recorder,
    ) -> (Option<TimingsDraft>, Option<Box<ServerDraft>>) {
        if !self.call.is_recording() {
            return (None, None);
        }
        let anchor = *self.call.anchor();
        let timings = self.wants_timings.then(|| {
            if let Some(told) = self.call.told() {
                return TimingsDraft {
                    anchor: told.anchor,
                    stages: told.stages.clone(),
                    continues: Some(Continuation {
                        call_id: told.call_id,
                        arrived: anchor.instant,
                    }),
                };
            }
            TimingsDraft {
                anchor,
                stages: self.call.stages_for_caller(),
                continues: None,
            }
        });
        let draft = self.call.is_exported().then(|| {
            let record = CallRecord {
                side: Side::Server,
                context: self.trace.context,
                parent: self.trace.parent,
                links: self.trace.link.into_iter().collect(),
                method: self.trace.method.into(),
                anchor,
                stages: Vec::new(),
                status: RpcStatus(status),
                clock: None,
                server_unix_ns: None,
                server_calls: Vec::new(),
                attributes: end
                    .map(|end| KeyValue::new(attribute::CALL_END, end.name()))
                    .into_iter()
                    .collect(),
                command: None,
            };
            Box::new(ServerDraft::new(record, self.call, recorder))
        });
        (timings, draft)
    }
}

/// Sends a response. Its head leaves with its first data if that is ready immediately.
async fn respond(stream: &Arc<StreamHandle>, mut response: http::Response<Body>, mut serving: Serving) {
    let head = |response: &http::Response<Body>| Head {
        metadata: metadata::from_headers(response.headers()),
        ..Head::default()
    };
    if let Err(status) = stream.send_head(&head(&response)) {
        // Metadata that is too large fails the call. A call that has already ended accepts no status.
        response = status.into_http();
        if stream.send_head(&head(&response)).is_err() {
            return;
        }
    }
    let (parts, mut body) = response.into_parts();
    let head_status = grpc_status(&parts.headers);
    let mut trailers = http::HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            // The response body failed: its error becomes the status.
            Err(status) => http_body::Frame::trailers(status_trailers(&status)),
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if stream.room().await.is_err() || stream.send_data(data, false).is_err() {
                    return;
                }
            }
            Err(frame) => {
                trailers = frame.into_trailers().unwrap_or_default();
                break;
            }
        }
    }
    // tonic ends every body with trailers, or puts the status into the head; otherwise the handler was cut short.
    if head_status.is_none() && grpc_status(&trailers).is_none() {
        trailers = status_trailers(&Status::unknown(
            "the handler ended its response without a status",
        ));
    }
    let status = grpc_status(&trailers)
        .or(head_status)
        .unwrap_or(tonic::Code::Unknown.into());
    let recorder = stream.session().recorder();
    let inputs = serving.inputs.take();
    let (timings, draft) = inputs.map_or((None, None), |inputs| inputs.into_drafts(status, None, recorder));
    // Fails only if the session or the call has ended; then no caller waits for the trailers.
    let _ = stream.send_trailers(metadata::from_headers(&trailers), timings, draft);
}

fn status_trailers(status: &Status) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    // Fails only if a header cannot hold the message; then only the code is sent.
    if status.add_header(&mut trailers).is_err() {
        trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(i32::from(status.code())));
    }
    trailers
}
