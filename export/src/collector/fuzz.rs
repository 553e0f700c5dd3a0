//! Whatever a collector answers, no more spans are counted as delivered than were sent.

use std::convert::Infallible;
use std::task::{Context, Poll, Waker};

use baton_fuzz::{Input, Script, Target};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use tonic::Streaming;

use super::*;

/// The input: the status in the trailers, and the body.
pub(crate) const ANSWER: Target = Target {
    name: "collector-answer",
    run,
    seeds,
};

/// A body of one chunk and trailers.
struct Body(Vec<http_body::Frame<Bytes>>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn run(bytes: &[u8]) {
    const SPANS: u64 = 100;
    let mut input = Input::new(bytes);
    let mut trailers = HeaderMap::new();
    for name in ["grpc-status", "grpc-message"] {
        if let Ok(value) = HeaderValue::from_bytes(input.chunk()) {
            trailers.insert(HeaderName::from_static(name), value);
        }
    }
    let body = Bytes::copy_from_slice(input.rest());
    let body = Body(vec![
        http_body::Frame::trailers(trailers),
        http_body::Frame::data(body),
    ]);
    let mut answer = Streaming::new_response(BytesCodec, body, http::StatusCode::OK, None, None);
    let message = std::pin::pin!(answer.message()).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(message) = message else {
        panic!("it waits for a body that is there");
    };
    match message {
        Ok(Some(response)) => assert!(rejected(SPANS, response).is_none_or(|(spans, _)| spans <= SPANS)),
        Ok(None) => {}
        Err(status) => {
            let told =
                ExportFailure::from_status(&Uri::from_static("http://localhost:4317"), &status).to_string();
            assert!(told.len() < 2_000 && !told.contains(char::is_control), "{told:?}");
        }
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |status: &str, rejected_spans| {
        let message = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "full".into(),
            }),
        };
        let message = message.encode_to_vec();
        let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        Script::default()
            .chunk(status.as_bytes())
            .chunk(b"")
            .raw(&framed)
            .done()
    };
    vec![
        ("some", of("0", 7)),
        ("negative", of("0", -1)),
        ("more-than-sent", of("0", i64::MAX)),
        (
            "unavailable",
            Script::default().chunk(b"14").chunk(b"later").done(),
        ),
        (
            "other",
            Script::default()
                .chunk(b"")
                .chunk(b"")
                .raw(&[0, 0, 0, 0, 1, 0xff])
                .done(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_collector_makes_more_spans_delivered_than_were_sent() {
    baton_fuzz::replay(&ANSWER);
}
