//! The bodies that tonic reads: a request's on the server, a response's on the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use super::client::Pump;
use super::metadata;
use super::record::ClientDraft;
use super::shared::StreamHandle;
use crate::mux::Received;

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
    draft: Option<Box<ClientDraft>>,
    /// Stops with the response.
    _pump: Pump,
    ended: bool,
}

impl ResponseBody {
    pub(super) fn new(stream: Arc<StreamHandle>, draft: Option<Box<ClientDraft>>, pump: Pump) -> Self {
        Self {
            stream,
            draft,
            _pump: pump,
            ended: false,
        }
    }

    fn finish(&mut self, timings: Option<baton_proto::channel::Timings>, status: i32) {
        self.ended = true;
        if let Some(draft) = self.draft.take() {
            draft.finish(&self.stream, timings, status);
        }
    }
}

impl Body for ResponseBody {
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
            Poll::Ready(Ok(Received::Data(data))) => {
                if let Some(draft) = &mut self.draft {
                    draft.handed = Some(Instant::now());
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Ok(Received::Trailers(trailers))) => {
                let headers = metadata::to_headers(trailers.metadata).unwrap_or_else(malformed);
                let status =
                    grpc_status(&headers).or(self.draft.as_ref().and_then(|draft| draft.head_status));
                self.finish(trailers.timings, status.unwrap_or(2));
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

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // The caller lost interest: the call was cancelled, unless all there was to know came with the head (tonic reads no
        // further then).
        let status = self.draft.as_ref().and_then(|draft| draft.head_status);
        self.finish(None, status.unwrap_or(tonic::Code::Cancelled.into()));
    }
}

/// The gRPC status in headers or trailers, if it is there.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Trailers in place of some that no HTTP library would take.
fn malformed() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", http::HeaderValue::from_static("13"));
    headers.insert(
        "grpc-message",
        http::HeaderValue::from_static("malformed trailers"),
    );
    headers
}
