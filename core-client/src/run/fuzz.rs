//! For any response to a `Run`: events have their only valid order, no loss stays undetected, and an invalid response
//! is a typed error.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use baton_channel::fuzz::metadata_to_headers;
use baton_fuzz::{Input, Script, Target};
use baton_proto::exec::exec_error::Kind;
use baton_proto::exec::{Closed, ExecError, Exited, Output, Signaled, Started};
use http::HeaderMap;
use prost::Message as _;
use tonic::Status;
use tonic::codec::Codec as _;

use super::*;

/// The input: the trailers, then the events (see [`body`]).
pub(crate) const EVENTS: Target = Target {
    name: "run-events",
    run,
    seeds,
};

/// A body of one chunk and trailers.
struct Body(Vec<http_body::Frame<Bytes>>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let names = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    let entries = names.map(|name| (name.to_owned(), input.chunk().to_vec()));
    // Converted as the channel converts them for tonic.
    let trailers = metadata_to_headers(entries.into()).unwrap_or_default();
    refused(&trailers);
    let body = Body(vec![
        http_body::Frame::trailers(trailers),
        http_body::Frame::data(body(&mut input).into()),
    ]);
    let decoder = tonic_prost::ProstCodec::<RunRequest, ProcessEvent>::default().decoder();
    let events = Streaming::new_response(decoder, body, http::StatusCode::OK, None, None);
    let (requests, mut sent) = mpsc::channel(crate::limits::OUTBOX);
    let mut run = Run::new(events, Some(requests), None, None);
    let mut seen = Vec::new();
    let mut bytes = (0, 0);
    let end = loop {
        match ready(run.next()) {
            Ok(Some(event)) => seen.push(event),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        match seen.last() {
            Some(Event::Stdout(data)) => bytes.0 += data.len(),
            Some(Event::Stderr(data)) => bytes.1 += data.len(),
            _ => {}
        }
        assert!(sent.try_recv().is_err(), "a request that nobody has asked for");
    };
    let order = |event: &Event| match event {
        Event::Started { .. } => 0,
        Event::Stdout(_) | Event::Stderr(_) => 1,
        Event::Exited { .. } => 2,
        Event::Closed { .. } => 3,
        Event::Gap { .. } => 4,
        Event::Repeated { .. } => 5,
    };
    let count = |kind| seen.iter().filter(|event| order(event) == kind).count();
    assert!(count(0) <= 1 && count(2) <= 1 && count(3) <= 1);
    let first = seen.first().map_or(0, order);
    assert!(first == 0 || first == 4, "an event before the start");
    if let Some(at) = seen.iter().position(|event| order(event) == 3) {
        assert_eq!(at + 1, seen.len(), "an event after the last");
        // The exit may be among the missing events.
        assert!(count(2) == 1 || count(4) > 0, "closed without an exit");
    }
    for event in &seen {
        if let Event::Exited { status, .. } = event {
            assert!((0..=255).contains(&status.shell_code()));
        }
    }
    match end {
        Ok(()) => assert_eq!(count(3), 1, "a run that was not closed"),
        Err(error) => check(&error),
    }
    assert_eq!(
        (run.received.stdout, run.received.stderr),
        (bytes.0 as u64, bytes.1 as u64)
    );
}

/// Checks the error of a `Run` that is refused with these trailers.
fn refused(trailers: &HeaderMap) {
    if let Some(status) = Status::from_header_map(trailers) {
        check(&RunError::from(status));
    }
}

fn check(error: &RunError) {
    let text = error.to_string();
    assert_eq!(
        baton_trace::text::printable(&text),
        text,
        "contains control characters"
    );
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits although the body is complete"),
    }
}

/// Builds the exec-server's events from the input, which encodes an event with the right `seq` in a few bytes.
fn body(input: &mut Input<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut seq = 0_u64;
    while !input.is_empty() {
        seq = u64::wrapping_add(seq, 1);
        let kind = match input.u8() % 9 {
            0 => {
                body.extend_from_slice(input.chunk());
                continue;
            }
            1 => process_event::Kind::Started(Started {
                pid: input.u32(),
                ..Started::default()
            }),
            2 | 3 => process_event::Kind::Output(Output {
                stream: (input.u8() % 4).into(),
                data: vec![7; input.u16().into()].into(),
            }),
            4 => process_event::Kind::Exited(Exited {
                status: Some(exited::Status::Code(input.u32().cast_signed())),
                ..Exited::default()
            }),
            5 => process_event::Kind::Exited(Exited {
                status: Some(exited::Status::Signaled(Signaled {
                    signal: input.u32().cast_signed(),
                    core_dumped: true,
                })),
                ..Exited::default()
            }),
            6 => process_event::Kind::Closed(Closed {
                truncated: input.bool(),
                survivors: input.u8().into(),
                stdout_bytes: input.u32().into(),
                stderr_bytes: input.u32().into(),
                family: None,
            }),
            7 => {
                seq = input.u64();
                continue;
            }
            _ => process_event::Kind::Exited(Exited::default()),
        };
        let event = ProcessEvent {
            seq,
            kind: Some(kind),
        };
        let message = event.encode_to_vec();
        body.push(0);
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(&message);
    }
    body
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let end = |status: &[u8], message: &[u8], details: &[u8]| {
        Script::default().chunk(status).chunk(message).chunk(details)
    };
    let ok = || end(b"0", b"", b"");
    let started = |script: Script| script.u8(1).u32(4711);
    let output = |script: Script, stream, len| script.u8(2).u8(stream).u16(len);
    let exited = |script: Script, code| script.u8(4).u32(code);
    let closed = |script: Script, out, err| script.u8(6).u8(0).u32(out).u32(err);
    let whole = || output(output(started(ok()), 1, 10), 2, 5);
    let detail = ExecError {
        kind: Kind::CommandNotFound.into(),
        message: "command\x1b[2J not found".into(),
    };
    let failed = Status::with_details(
        tonic::Code::NotFound,
        "no",
        detail.to_details(tonic::Code::NotFound.into()),
    );
    let mut headers = HeaderMap::new();
    failed.add_header(&mut headers).expect("headers");
    let details = headers["grpc-status-details-bin"].as_bytes();
    let bulk = (0..9).fold(started(ok()), |script, _| output(script, 1, u16::MAX));
    vec![
        ("whole", closed(exited(whole(), 0), 10, 5).done()),
        ("bulk", closed(exited(bulk, 1), 9 * 65_535, 0).done()),
        ("signal", closed(started(ok()).u8(5).u32(9), 0, 0).done()),
        ("no-such-code", exited(started(ok()), 256).done()),
        ("missing-output", closed(exited(whole(), 0), 11, 5).done()),
        ("gap", exited(whole().u8(7).u64(9), 0).done()),
        ("last-seq", started(ok().u8(7).u64(u64::MAX - 1)).done()),
        ("never-started", exited(ok(), 0).done()),
        ("twice", exited(exited(whole(), 0), 0).done()),
        ("cut", whole().done()),
        ("refused", end(b"5", b"no", details).done()),
        ("bad-details", started(end(b"13", b"%1b[2J", b"!")).done()),
        ("no-status", started(ok()).u8(8).done()),
        ("raw", started(ok()).u8(0).chunk(&[0, 0, 0, 0, 2, 8, 2]).done()),
    ]
}

#[cfg(test)]
#[test]
fn no_exec_server_makes_a_run_look_like_what_it_was_not() {
    baton_fuzz::replay(&EVENTS);
}
