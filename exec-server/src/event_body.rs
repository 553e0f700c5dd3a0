//! The response body of calls that return events. It hands output to the transport as it was read.
//!
//! tonic's encoder copies every message into its buffer. For bulk output that is the largest copy of the exec-server
//! after the encryption. So [`EventBodies`] replaces the bodies of these calls: the header of an event is encoded, and
//! its output follows as a frame of its own, which is a reference to the log's bytes. The bytes on the wire are the
//! same.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use baton_channel::Service;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Output, ProcessEvent};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::Map;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http_body::Frame;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::body::Body;
use tonic::{Response, Status};

use crate::limits::{EVENT_BATCH_BYTES, EVENT_COPY_BYTES};
use crate::process::Events;

/// The field of [`ProcessEvent`] that has its output, and the field of [`Output`] that has the bytes.
const OUTPUT: u32 = 3;
const DATA: u32 = 2;

/// The events of a response, which its body takes if [`EventBodies`] is around the service.
#[derive(Debug)]
pub struct EventStream<S>(Arc<Mutex<Option<S>>>);

/// In the extensions of the response. The events end with the stream, not with this.
#[derive(Debug)]
struct EventsOf<S>(Weak<Mutex<Option<S>>>);

impl<S> Clone for EventsOf<S> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

/// A response with these events.
pub(crate) fn respond<S: Send + 'static>(events: S) -> Response<EventStream<S>> {
    let events = Arc::new(Mutex::new(Some(events)));
    let of = EventsOf(Arc::downgrade(&events));
    let mut response = Response::new(EventStream(events));
    response.extensions_mut().insert(of);
    response
}

impl<S: Stream + Unpin> Stream for EventStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events
            .as_mut()
            .map_or(Poll::Ready(None), |events| events.poll_next_unpin(cx))
    }
}

/// A service whose responses with [`Events`] have an [`EventBody`].
#[derive(Debug, Clone)]
pub(crate) struct EventBodies<S>(pub(crate) S);

type Answer = Result<http::Response<Body>, Infallible>;

impl<S: Service> tower_service::Service<http::Request<Body>> for EventBodies<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Map<S::Future, fn(Answer) -> Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request).map(with_event_body::<Events>)
    }
}

fn with_event_body<E>(answer: Answer) -> Answer
where
    E: Stream<Item = Result<ProcessEvent, Status>> + Unpin + Send + 'static,
{
    let Ok(mut response) = answer;
    let of = response.extensions_mut().remove::<EventsOf<E>>();
    let shared = of.and_then(|of| of.0.upgrade());
    let events = shared.and_then(|events| events.lock().unwrap_or_else(PoisonError::into_inner).take());
    Ok(match events {
        Some(events) => response.map(|_| Body::new(EventBody::new(events))),
        None => response,
    })
}

/// gRPC messages, then trailers. Short events share a frame.
#[derive(Debug)]
struct EventBody<E> {
    events: E,
    /// Messages that wait for more of them, or for `output`.
    encoded: BytesMut,
    /// The end of the last message.
    output: Bytes,
    /// What is sent after all messages.
    status: Option<Status>,
    is_done: bool,
}

impl<E> EventBody<E> {
    fn new(events: E) -> Self {
        Self {
            events,
            encoded: BytesMut::new(),
            output: Bytes::new(),
            status: None,
            is_done: false,
        }
    }

    /// Encodes a message, without the output if that is long.
    fn put(&mut self, event: ProcessEvent) {
        match event.kind {
            Some(Kind::Output(Output { stream, data })) if data.len() >= EVENT_COPY_BYTES => {
                let start = ProcessEvent {
                    seq: event.seq,
                    kind: None,
                };
                let output = Output {
                    stream,
                    data: Bytes::new(),
                };
                // Both keys have one byte.
                let len = data.len();
                let output_len = output.encoded_len() + 1 + encoded_len_varint(len as u64) + len;
                let event_len = start.encoded_len() + 1 + encoded_len_varint(output_len as u64) + output_len;
                self.begin(event_len);
                // BytesMut grows, so encoding cannot fail.
                let _ = start.encode(&mut self.encoded);
                encode_key(OUTPUT, WireType::LengthDelimited, &mut self.encoded);
                encode_varint(output_len as u64, &mut self.encoded);
                let _ = output.encode(&mut self.encoded);
                encode_key(DATA, WireType::LengthDelimited, &mut self.encoded);
                encode_varint(len as u64, &mut self.encoded);
                self.output = data;
            }
            _ => {
                self.begin(event.encoded_len());
                let _ = event.encode(&mut self.encoded);
            }
        }
    }

    /// Writes gRPC's prefix of a message.
    fn begin(&mut self, len: usize) {
        self.encoded.put_u8(0);
        self.encoded.put_u32(len as u32);
    }
}

impl<E> http_body::Body for EventBody<E>
where
    E: Stream<Item = Result<ProcessEvent, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            let is_full = this.encoded.len() >= EVENT_BATCH_BYTES || !this.output.is_empty();
            let next = match is_full || this.status.is_some() || this.is_done {
                true => None,
                false => match this.events.poll_next_unpin(cx) {
                    Poll::Pending if this.encoded.is_empty() => return Poll::Pending,
                    Poll::Pending => None,
                    Poll::Ready(next) => Some(next),
                },
            };
            match next {
                Some(Some(Ok(event))) => this.put(event),
                Some(Some(Err(status))) => this.status = Some(status),
                Some(None) => this.status = Some(Status::ok("")),
                None if !this.encoded.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(this.encoded.split().freeze()))));
                }
                None if !this.output.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.output)))));
                }
                None => {
                    this.is_done = true;
                    let Some(status) = this.status.take() else {
                        return Poll::Ready(None);
                    };
                    let mut trailers = http::HeaderMap::new();
                    let added = status
                        .add_header(&mut trailers)
                        .map(|()| Frame::trailers(trailers));
                    return Poll::Ready(Some(added));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    fn event(seq: u64, len: usize, stream: i32) -> ProcessEvent {
        let data = Bytes::from(vec![7; len]);
        let kind = Some(Kind::Output(Output { stream, data }));
        ProcessEvent { seq, kind }
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![
            0..40_usize,
            EVENT_COPY_BYTES - 2..EVENT_COPY_BYTES + 2,
            1..70_000_usize
        ]
    }

    /// The bytes and the trailers of a body with these events.
    async fn sent(events: Vec<Result<ProcessEvent, Status>>) -> (Vec<u8>, http::HeaderMap) {
        let collected = EventBody::new(stream::iter(events)).collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        (collected.to_bytes().to_vec(), trailers)
    }

    fn encoded(events: &[ProcessEvent]) -> Vec<u8> {
        let mut out = Vec::new();
        for event in events {
            out.push(0);
            out.put_u32(event.encoded_len() as u32);
            event.encode(&mut out).unwrap();
        }
        out
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_usual_encoder(
            shapes in prop::collection::vec((any::<u64>(), lengths(), 0..3_i32), 0..12),
        ) {
            let events: Vec<_> = shapes.into_iter().map(|(seq, len, stream)| event(seq, len, stream)).collect();
            let (bytes, trailers) = sent(events.iter().cloned().map(Ok).collect()).now_or_never().unwrap();
            prop_assert_eq!(bytes, encoded(&events));
            prop_assert_eq!(&trailers["grpc-status"], "0");
        }
    }

    #[tokio::test]
    async fn an_error_becomes_the_status_after_the_events_before_it() {
        let first = event(1, EVENT_COPY_BYTES, 1);
        let lost = Err(Status::data_loss("gone"));
        let (bytes, trailers) = sent(vec![Ok(first.clone()), lost]).await;
        assert_eq!(bytes, encoded(&[first]));
        assert_eq!(&trailers["grpc-status"], "15");
    }

    #[tokio::test]
    async fn long_output_is_not_copied_and_short_events_share_a_frame() {
        let long = event(3, EVENT_COPY_BYTES, 1);
        let Some(Kind::Output(output)) = &long.kind else {
            panic!("{long:?}")
        };
        let data = output.data.as_ptr();
        let events = [event(1, 1, 1), event(2, 1, 1), long].map(Ok);
        let mut body = EventBody::new(stream::iter(events));
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.extend(frame.unwrap().into_data().ok());
        }
        let [_, second] = &frames[..] else {
            panic!("{} frames", frames.len())
        };
        assert_eq!(second.as_ptr(), data);
    }

    #[tokio::test]
    async fn the_events_of_a_response_are_sent_once_by_its_new_body_or_by_tonic_s() {
        let sent = event(1, EVENT_COPY_BYTES, 1);
        let Some(Kind::Output(output)) = &sent.kind else {
            panic!("{sent:?}")
        };
        let data = output.data.as_ptr();
        let respond = || respond(stream::iter([Ok::<_, Status>(sent.clone())]));
        let (metadata, mut unlayered, extensions) = respond().into_parts();
        drop((metadata, extensions));
        assert_eq!(unlayered.next().await.unwrap().unwrap(), sent);

        let (_, mut taken, extensions) = respond().into_parts();
        let mut response = http::Response::new(Body::empty());
        *response.extensions_mut() = extensions;
        type Events = stream::Iter<std::array::IntoIter<Result<ProcessEvent, Status>, 1>>;
        let Ok(mut response) = with_event_body::<Events>(Ok(response));
        assert!(taken.next().await.is_none(), "the body has them");
        let frame = async |body: &mut Body| body.frame().await.unwrap().unwrap().into_data().unwrap();
        frame(response.body_mut()).await;
        assert_eq!(frame(response.body_mut()).await.as_ptr(), data);
    }

    #[tokio::test]
    async fn what_is_encoded_is_sent_before_the_events_are_waited_for() {
        let waiting = stream::iter([Ok(event(1, 1, 1))]).chain(stream::pending());
        let mut body = EventBody::new(waiting);
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert!(body.frame().now_or_never().is_none());
    }
}
