//! The bodies that tonic reads: the request's on the server, the response's on the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_export::clock;
use baton_mux::Received;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use super::client::Pump;
use super::metadata;
use super::record::Recording;
use super::session_state::StreamHandle;

/// A request's body, on the server.
pub(super) struct RequestBody {
    stream: Arc<StreamHandle>,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(stream: Arc<StreamHandle>) -> Self {
        Self { stream, ended: false }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.stream.poll_receive(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Received::Data(data))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Poll::Ready(Ok(_)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Err(status)) => {
                self.ended = true;
                Poll::Ready(Some(Err(status)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// A response's body, on the client. Dropping it before its trailers cancels the call.
pub struct ResponseBody {
    stream: Arc<StreamHandle>,
    recording: Recording,
    /// The first frame, if it was read before the caller polled.
    ahead: Option<Result<Frame<Bytes>, Status>>,
    /// Dropped with the response, which stops the request's body.
    _pump: Pump,
    ended: bool,
}

impl ResponseBody {
    pub(super) fn new(stream: Arc<StreamHandle>, recording: Recording, pump: Pump) -> Self {
        Self {
            stream,
            recording,
            ahead: None,
            _pump: pump,
            ended: false,
        }
    }

    /// Reads the first frame now. tonic does not read behind a head with a status, but the trailers that follow it hold
    /// the server's timings.
    pub(super) async fn read_ahead(&mut self) {
        self.ahead = std::future::poll_fn(|cx| self.poll_stream(cx)).await;
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.stream.poll_receive(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Received::Data(data))) => {
                self.recording.handed(clock::now());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Ok(Received::Trailers(trailers))) => {
                if let Some(draft) = &mut self.recording.draft {
                    draft.details.is_answered = true;
                    draft.calls.name(trailers.call_id);
                }
                let headers = metadata::to_headers(trailers.metadata).unwrap_or_else(malformed);
                self.recording.refused(&headers);
                let from_head = || self.recording.draft.as_ref().and_then(|draft| draft.head_status);
                let status = grpc_status(&headers).or_else(from_head);
                self.finish(Some(&trailers.timings), status.unwrap_or(2));
                Poll::Ready(Some(Ok(Frame::trailers(headers))))
            }
            Poll::Ready(Ok(_)) => {
                self.finish(None, tonic::Code::Internal.into());
                Poll::Ready(Some(Err(Status::internal("the response ended without trailers"))))
            }
            Poll::Ready(Err(status)) => {
                self.finish(None, status.code().into());
                Poll::Ready(Some(Err(status)))
            }
        }
    }

    fn finish(&mut self, timings: Option<&[u8]>, status: i32) {
        self.ended = true;
        self.recording.finish(timings, status);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.ahead.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_stream(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.ahead.is_none()
    }
}

/// The gRPC status in headers or trailers, if they hold one.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Trailers that replace malformed ones.
fn malformed() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", http::HeaderValue::from_static("13"));
    headers.insert(
        "grpc-message",
        http::HeaderValue::from_static("malformed trailers"),
    );
    headers
}
