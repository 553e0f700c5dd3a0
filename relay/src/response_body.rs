//! The response body of every method: empty for a refusal, spliced frames, or the `Register` stream of tonic.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame};
use tonic::Status;

use crate::connection::OpenStream;
use crate::frames::Rope;
use crate::splice::OutgoingBody;

/// A response body. While it exists, its connection does not count as idle.
#[derive(Default)]
pub(crate) struct ResponseBody {
    kind: BodyKind,
    _stream: Option<OpenStream>,
}

#[derive(Default)]
enum BodyKind {
    #[default]
    Empty,
    Spliced(OutgoingBody),
    Grpc(tonic::body::Body),
}

impl ResponseBody {
    pub(crate) fn spliced(outgoing: OutgoingBody) -> Self {
        Self {
            kind: BodyKind::Spliced(outgoing),
            _stream: None,
        }
    }

    pub(crate) fn grpc(body: tonic::body::Body) -> Self {
        Self {
            kind: BodyKind::Grpc(body),
            _stream: None,
        }
    }

    /// Ready when the relay has cut the session while data of this body waits to be sent.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match &mut self.kind {
            BodyKind::Spliced(outgoing) => outgoing.poll_cut(cx),
            BodyKind::Empty | BodyKind::Grpc(_) => Poll::Pending,
        }
    }

    pub(crate) fn on(self, stream: OpenStream) -> Self {
        Self {
            _stream: Some(stream),
            ..self
        }
    }
}

impl Body for ResponseBody {
    type Data = Rope;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Rope>, Status>>> {
        match &mut self.kind {
            BodyKind::Empty => Poll::Ready(None),
            BodyKind::Spliced(outgoing) => outgoing.poll_frame(cx),
            BodyKind::Grpc(body) => Pin::new(body)
                .poll_frame(cx)
                .map_ok(|frame| frame.map_data(Rope::from)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            BodyKind::Empty => true,
            BodyKind::Spliced(outgoing) => outgoing.is_ended(),
            BodyKind::Grpc(body) => body.is_end_stream(),
        }
    }
}
