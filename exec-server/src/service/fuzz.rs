//! Arbitrary requests of a client on a `Run`. Asserts: a process is started once and as requested, it reads a prefix of
//! the input in order, an invalid request is a typed error, and no process outlives its client.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use baton_channel::allow::Peer;
use baton_channel::fuzz::peer;
use baton_fuzz::{Input, Script, Target};
use baton_proto::exec::{
    self as wire, Ack, EnvironmentVariable, Family, MarkerReached, Stdin, StdinClose, exited,
};
use baton_trace::w3c::TraceContext;
use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite, Empty, ReadBuf, empty};
use tokio::runtime::Runtime;
use tonic::codec::Codec as _;

use super::*;
use crate::process::{ProcessGroup, Running};

/// The input: the requests (see [`body`]).
pub(crate) const REQUESTS: Target = Target {
    name: "run-requests",
    run,
    seeds,
};

const EPOCH: Epoch = Epoch([2; 16]);

/// The observed behaviour.
#[derive(Debug, Default)]
struct FakeState {
    launched: Vec<(Vec<Vec<u8>>, bool)>,
    /// The input that the process has read.
    stdin: Vec<u8>,
    is_stdin_at_end: bool,
    is_signalled: bool,
    gone: usize,
    /// The waiter for the exit.
    waiting: Option<Waker>,
}

/// An operating system with processes that read until their input ends, or end at once if they have none.
#[derive(Debug, Clone, Default)]
struct FakeSystem(Arc<Mutex<FakeState>>);

struct Group {
    state: FakeSystem,
    has_stdin: bool,
    is_gone: bool,
}

struct Reader(FakeSystem);

impl FakeState {
    fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl FakeSystem {
    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().expect("one thread")
    }
}

impl Backend for FakeSystem {
    type Group = Group;
    type Stdin = Reader;
    type Stdout = Empty;
    type Stderr = Writer;

    fn spawn(&self, launch: Launch, _: Option<&TraceContext>) -> Result<Running<Self>, StartError> {
        let argv = launch
            .argv()
            .iter()
            .map(|word| word.to_bytes().to_vec())
            .collect();
        self.lock().launched.push((argv, launch.has_stdin()));
        Ok(Running {
            exec: Arc::new(baton_export::clock::now()),
            group: Group {
                state: self.clone(),
                has_stdin: launch.has_stdin(),
                is_gone: false,
            },
            stdin: launch.has_stdin().then(|| Reader(self.clone())),
            stdout: empty(),
            stderr: Writer(false),
            terminal: None,
        })
    }
}

impl ProcessGroup for Group {
    fn pid(&self) -> u32 {
        1
    }

    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<exited::Status>> {
        let mut state = self.state.lock();
        if state.is_signalled {
            let signaled = baton_proto::exec::Signaled {
                signal: 15,
                core_dumped: false,
            };
            return Poll::Ready(Ok(exited::Status::Signaled(signaled)));
        }
        if !self.has_stdin || state.is_stdin_at_end {
            return Poll::Ready(Ok(exited::Status::Code(0)));
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn signal(&mut self, _: Signal) {
        let mut state = self.state.lock();
        state.is_signalled = true;
        state.wake();
    }

    fn reap(&mut self) {
        if !std::mem::replace(&mut self.is_gone, true) {
            self.state.lock().gone += 1;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.reap();
    }
}

impl AsyncWrite for Reader {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if state.is_signalled {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        state.stdin.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_stdin_at_end = true;
        state.wake();
    }
}

/// A little output.
struct Writer(bool);

impl AsyncRead for Writer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.0, true) {
            buf.put_slice(b"said");
        }
        Poll::Ready(Ok(()))
    }
}

/// The client's request body, which ends after its data.
struct Body(Option<Bytes>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(http_body::Frame::data(data))))
    }
}

fn run(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            // In virtual time: a kill takes its grace.
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"),
        );
        static PEER: Arc<Peer> = peer();
    }
    let body = body(&mut Input::new(bytes));
    let state = FakeSystem::default();
    let service = ExecService::with_backend(EPOCH, 4, state.clone());
    let table = service.clone();
    let decoder = baton_rpc::codec::CheckedCodec::<RunRequest, RunRequest>::default().decoder();
    let requests = Streaming::new_request(decoder, Body(Some(body.clone())), None, Some(REQUEST_BYTES));
    let mut request = Request::new(requests);
    request.extensions_mut().insert(PEER.with(Arc::clone));
    let (events, end) = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let mut events = Vec::new();
            let end = match service.run(request).await {
                Err(status) => Err(status),
                Ok(response) => {
                    let mut stream = response.into_inner();
                    loop {
                        match stream.next().await {
                            Some(Ok(event)) => events.push(event),
                            Some(Err(status)) => break Err(status),
                            None => break Ok(()),
                        }
                    }
                }
            };
            while table.processes() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            (events, end)
        })
    });
    let state = state.lock();
    assert!(state.launched.len() <= 1, "started more than once");
    assert_eq!(state.gone, state.launched.len(), "a process was left behind");
    if let Err(status) = &end {
        assert!(!status.message().chars().any(char::is_control), "{status:?}");
        // What a client sends is the client's fault.
        assert!(![Code::Ok, Code::Internal].contains(&status.code()), "{status:?}");
    }
    assert!(
        events
            .iter()
            .enumerate()
            .all(|(at, event)| event.seq == at as u64 + 1)
    );
    check(&state, &body, end.is_ok());
}

/// Holds what happened against what an independent reader finds in the requests.
fn check(state: &FakeState, body: &[u8], is_ok: bool) {
    let (requests, is_whole) = read(body);
    let start = match requests.first() {
        Some(RunRequest {
            kind: Some(Kind::Start(start)),
        }) => Launch::try_from(start.clone())
            .ok()
            .filter(|launch| launch.epoch == EPOCH),
        _ => None,
    };
    assert_eq!(state.launched.is_empty(), start.is_none());
    let Some(start) = start else {
        assert!(!is_ok && state.stdin.is_empty());
        return;
    };
    let argv: Vec<_> = start.argv().iter().map(|word| word.to_bytes().to_vec()).collect();
    assert_eq!(state.launched, [(argv, start.has_stdin())]);
    let mut sent = Vec::new();
    let mut is_closed = false;
    for request in &requests[1..] {
        match &request.kind {
            Some(Kind::Stdin(Stdin { offset, data })) if *offset == sent.len() as u64 && !is_closed => {
                sent.extend_from_slice(data);
            }
            Some(Kind::StdinClose(StdinClose { offset })) if *offset == sent.len() as u64 => is_closed = true,
            Some(Kind::Ack(_) | Kind::Marker(_) | Kind::Signal(_)) => {}
            _ => break,
        }
    }
    assert!(
        sent.starts_with(&state.stdin),
        "it read what was not sent, or in another order"
    );
    if state.launched[0].1 && !state.is_signalled {
        assert!(
            is_closed && state.stdin == sent,
            "its input looked complete and was not"
        );
    }
    if is_ok && start.has_stdin() {
        assert!(is_whole || is_closed, "no end of its input, and all is well");
    }
}

/// The requests up to the first that does not decode, and whether that is all.
fn read(mut body: &[u8]) -> (Vec<RunRequest>, bool) {
    let mut requests = Vec::new();
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let message = (prefix[0] == 0 && len <= REQUEST_BYTES).then(|| rest.split_at_checked(len));
        let Some(Some((message, rest))) = message else {
            return (requests, false);
        };
        let Ok(request) = RunRequest::decode(message) else {
            return (requests, false);
        };
        requests.push(request);
        body = rest;
    }
    (requests, body.is_empty())
}

fn start(stdin: bool) -> Start {
    Start {
        process_id: vec![1; 16].into(),
        epoch: EPOCH.0.to_vec().into(),
        argv: vec!["cat".into(), "-".into()],
        env: vec![EnvironmentVariable {
            name: "A".into(),
            value: "b".into(),
        }],
        cwd: "/".into(),
        stdin,
        drain_ms: Some(0),
        family: match stdin {
            true => Family::Jsonl,
            false => Family::Unspecified,
        }
        .into(),
        ..Start::default()
    }
}

/// The client's requests.
fn body(input: &mut Input<'_>) -> Bytes {
    let mut body = Vec::new();
    let mut offset = 0_u64;
    while !input.is_empty() {
        let kind = match input.u8() % 11 {
            0 => {
                body.extend_from_slice(input.chunk());
                continue;
            }
            1 => Kind::Start(start(input.bool())),
            // A start with one altered field.
            2 => {
                let mut message = start(true).encode_to_vec();
                let at = usize::from(input.u8()) % message.len();
                message[at] ^= input.u8();
                let Ok(start) = Start::decode(&message[..]) else {
                    continue;
                };
                Kind::Start(start)
            }
            3 => {
                let data = input.chunk();
                offset += data.len() as u64;
                Kind::Stdin(Stdin {
                    offset: offset - data.len() as u64,
                    data: Bytes::copy_from_slice(data),
                })
            }
            4 => Kind::Stdin(Stdin {
                offset: input.u64(),
                data: Bytes::copy_from_slice(input.chunk()),
            }),
            5 => Kind::StdinClose(StdinClose { offset }),
            6 => Kind::StdinClose(StdinClose { offset: input.u64() }),
            9 => Kind::Marker(MarkerReached {
                marker: input.u8().into(),
            }),
            10 => Kind::Signal(wire::Signal {
                name: String::from_utf8_lossy(input.chunk()).into_owned(),
                ends: input.bool(),
            }),
            _ => Kind::Ack(Ack { seq: input.u64() }),
        };
        let message = RunRequest { kind: Some(kind) }.encode_to_vec();
        body.push(0);
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(&message);
    }
    body.into()
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let started = |stdin| Script::default().u8(1).u8(stdin);
    let data = |script: Script, data: &[u8]| script.u8(3).chunk(data);
    vec![
        ("no-stdin", started(0).done()),
        ("stdin", data(data(started(1), b"one"), b"two").u8(5).done()),
        (
            "acks",
            data(started(1), b"x").u8(7).u64(1).u8(5).u8(7).u64(0).done(),
        ),
        ("markers", started(1).u8(9).u8(1).u8(9).u8(1).u8(5).done()),
        ("marker-unknown", started(1).u8(9).u8(2).u8(5).done()),
        ("marker-without-family", started(0).u8(9).u8(1).done()),
        ("signal", started(1).u8(10).chunk(b"INT").u8(1).u8(5).done()),
        (
            "signal-unknown",
            started(1).u8(10).chunk(b"int").u8(0).u8(5).done(),
        ),
        ("ack-beyond", started(1).u8(7).u64(u64::MAX).u8(5).done()),
        ("cut", data(started(1), b"half").done()),
        ("gap", started(1).u8(4).u64(9).chunk(b"x").done()),
        (
            "offset-overflow",
            started(1).u8(4).u64(u64::MAX).chunk(b"xx").u8(5).done(),
        ),
        ("after-the-close", data(started(1).u8(5), b"x").done()),
        ("close-too-early", data(started(1), b"abc").u8(6).u64(1).done()),
        ("not-asked", data(started(0), b"x").done()),
        ("two-starts", started(1).u8(1).u8(1).done()),
        ("stdin-first", data(Script::default(), b"x").done()),
        ("altered-id", Script::default().u8(2).u8(1).u8(1).done()),
        ("altered-epoch", Script::default().u8(2).u8(30).u8(1).u8(5).done()),
        ("nul", Script::default().u8(2).u8(39).u8(b'a').u8(5).done()),
        ("nothing", Vec::new()),
        (
            "garbage",
            Script::default().u8(0).chunk(&[0, 0, 0, 0, 1, 0xff]).done(),
        ),
        ("no-grpc", Script::default().u8(0).chunk(b"garbage").done()),
        (
            "unreadable",
            started(1).u8(0).chunk(&[0, 0, 0, 0, 1, 0xff]).done(),
        ),
        (
            "too-long",
            started(1).u8(0).chunk(&[0, 0xff, 0, 0, 0, 0xff]).done(),
        ),
        ("empty-request", started(1).u8(0).chunk(&[0, 0, 0, 0, 0]).done()),
        ("turn-and-step", of_turn(7, "plan")),
        ("turn-too-large", of_turn(u64::MAX, "plan")),
        ("step-alone", of_turn(0, "plan")),
        ("step-too-long", of_turn(7, &"x".repeat(200))),
        ("step-with-control", of_turn(7, "a\nb")),
    ]
}

/// A start that names a turn and a step.
fn of_turn(turn: u64, step: &str) -> Vec<u8> {
    let start = Start {
        thread_id: "chat".into(),
        turn,
        step: step.into(),
        ..start(false)
    };
    let message = RunRequest {
        kind: Some(Kind::Start(start)),
    }
    .encode_to_vec();
    let prefix = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
    Script::default().u8(0).chunk(&[prefix, message].concat()).done()
}

#[cfg(test)]
#[test]
fn no_requests_start_a_process_twice_feed_it_out_of_order_or_leave_it_behind() {
    baton_fuzz::replay(&REQUESTS);
}
