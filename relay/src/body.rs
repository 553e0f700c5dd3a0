//! The response body of every method: empty for a refusal, spliced frames, or the `Register` stream of tonic.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame};
use tonic::Status;

use crate::connection::Stream;
use crate::frames::Rope;
use crate::splice::Outgoing;

/// A response body; it keeps its connection from counting as idle.
#[derive(Default)]
pub(crate) struct RelayBody {
    kind: Kind,
    _stream: Option<Stream>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Spliced(Outgoing),
    Grpc(tonic::body::Body),
}

impl RelayBody {
    pub(crate) fn spliced(outgoing: Outgoing) -> Self {
        Self {
            kind: Kind::Spliced(outgoing),
            _stream: None,
        }
    }

    pub(crate) fn grpc(body: tonic::body::Body) -> Self {
        Self {
            kind: Kind::Grpc(body),
            _stream: None,
        }
    }

    /// Ready when the body was ended while something of it waits to be sent.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match &mut self.kind {
            Kind::Spliced(outgoing) => outgoing.poll_cut(cx),
            Kind::Empty | Kind::Grpc(_) => Poll::Pending,
        }
    }

    pub(crate) fn on(self, stream: Stream) -> Self {
        Self {
            _stream: Some(stream),
            ..self
        }
    }
}

impl Body for RelayBody {
    type Data = Rope;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Rope>, Status>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Spliced(outgoing) => outgoing.poll_frame(cx),
            Kind::Grpc(body) => Pin::new(body)
                .poll_frame(cx)
                .map_ok(|frame| frame.map_data(Rope::from)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Spliced(outgoing) => outgoing.is_ended(),
            Kind::Grpc(body) => body.is_end_stream(),
        }
    }
}
