//! Floods against a relay and an exec-server that are processes of the real binary. Their memory stays within a bound,
//! and an honest client is served during and after each flood.
//!
//! The tests write HTTP/2 frames themselves where a library refuses to send them. A bound is the memory that the flood
//! can occupy according to the limits in `limits.rs`, plus slack for the allocator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton_core_client::{Client, Command, Seed, Ticket};
use baton_mux::StreamId;
use baton_noise::MESSAGE_1_LEN;
use baton_proto::channel::{Head, Metadata};
use baton_proto::exec::Start;
use baton_proto::limits::{ARGUMENTS_MAX, ENVIRONMENT_MAX, MAX_STREAMS, METADATA_ENTRIES_MAX};
use baton_proto::relay::{Frame, Pong, RegisterRequest, register_request};
use baton_proto::{SessionId, header};
use baton_support::codec::Raw;
use baton_support::frames::{self, kind};
use baton_support::process::Stack;
use baton_support::process::usage::resident_bytes;
use baton_support::scale::scaled;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::raw::{RawServer, RawSession, client, dial, dial_headers, request as with_headers};
use crate::within;

pub(crate) const MIB: u64 = 1 << 20;

/// Memory that the allocator may retain, and growth of a debug build's own pages.
const SLACK: u64 = 24 * MIB;

/// The ticket of the exec-server, and the key that it allows.
struct Target {
    ticket: Ticket,
    seed: Seed,
}

/// Starts a relay and an exec-server.
async fn start() -> (Stack, Arc<Target>) {
    let start = || {
        let stack = Stack::start(None).unwrap();
        let seed = Seed::read(&stack.client_key()).unwrap();
        let ticket: Ticket = stack.ticket().parse().unwrap();
        (stack, Arc::new(Target { ticket, seed }))
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

impl Target {
    fn relay_address(&self) -> &str {
        self.ticket.relay_url.trim_start_matches("http://")
    }

    fn key(&self) -> baton_core_client::StaticKey {
        self.seed.client_key().unwrap()
    }

    async fn session(&self) -> RawSession {
        RawSession::dial(&self.ticket, &self.key()).await
    }
}

/// One flood, which makes a process hold memory.
struct Flood {
    name: &'static str,
    /// Bytes that the limits allow the flood to occupy.
    bound: u64,
    run: fn(Arc<Target>) -> BoxFuture<'static, ()>,
}

/// Runs the floods one after another and checks the memory of the target process.
async fn run_floods(target: &Arc<Target>, pid: u32, floods: Vec<Flood>) {
    let honest = Client::new(target.ticket.clone(), target.key());
    for Flood { name, bound, run } in floods {
        let before = resident_bytes(pid).unwrap();
        let peak = Peak::watch(pid);
        let started = Instant::now();
        let flood = tokio::spawn(run(Arc::clone(target)));
        let mut served = 0;
        while !flood.is_finished() || served < 3 {
            let output = within(honest.run(Command::new("echo").arg("ok"))).await;
            assert_eq!(
                output.unwrap_or_else(|error| panic!("{name}: {error}")).stdout,
                b"ok\n"
            );
            served += 1;
            assert!(
                started.elapsed() < 2 * crate::testbed::IN_TIME,
                "{name}: the flood did not end"
            );
        }
        flood.await.unwrap();
        let grown = peak.stop().saturating_sub(before);
        println!(
            "{name}: grew by {:.1} MiB, limit {}, served {served} meanwhile, {:.1} s",
            grown as f64 / MIB as f64,
            (bound + SLACK) / MIB,
            started.elapsed().as_secs_f64(),
        );
        assert!(grown <= bound + SLACK, "{name}: {grown} bytes");
    }
    honest.close().await;
}

/// Measures the peak resident memory of a process.
pub(crate) struct Peak {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Peak {
    pub(crate) fn watch(pid: u32) -> Self {
        let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (most, stop) = (Arc::clone(&most), Arc::clone(&stop));
            move || {
                while !stop.load(Relaxed) {
                    most.fetch_max(resident_bytes(pid).unwrap_or(0), Relaxed);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Self { most, stop, thread }
    }

    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap();
        self.most.load(Relaxed)
    }
}

/// An HTTP/2 connection (RFC 9113) on which the test writes raw frames.
struct RawHttp2(TcpStream);

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
pub(crate) const END_HEADERS: u8 = 4;

/// The header block of a request to the relay, as literals without indexing (RFC 7541 section 6.2.2).
pub(crate) fn request(method: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (4, format!("/baton.relay.v1.Relay/{method}")),
        (1, "relay:1".into()),
    ] {
        block.extend([name, u8::try_from(value.len()).unwrap()]);
        block.extend(value.bytes());
    }
    block
}

impl RawHttp2 {
    async fn connect(target: &Target) -> Self {
        let mut socket = TcpStream::connect(target.relay_address()).await.unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        socket
            .write_all(&frames::http2(SETTINGS, 0, 0, b""))
            .await
            .unwrap();
        Self(socket)
    }

    /// Writes chunks until the peer closes the connection (`true`), stalls for a second, or all are written (both
    /// `false`).
    async fn flood(&mut self, chunks: impl Iterator<Item = Vec<u8>>) -> bool {
        for chunk in chunks {
            match timeout(Duration::from_secs(1), self.0.write_all(&chunk)).await {
                Err(_) => return false,
                Ok(Err(_)) => return true,
                Ok(Ok(())) => {}
            }
        }
        false
    }

    /// Waits until the peer has closed the connection.
    async fn closed(mut self) {
        let mut rest = Vec::new();
        let _ = within(self.0.read_to_end(&mut rest)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_s_memory_stays_within_its_bound() {
    let (stack, target) = start().await;
    let floods = vec![
        Flood {
            name: "HTTP/2 pings whose answers are not read",
            bound: 0,
            run: |target| {
                Box::pin(async move {
                    let pings = frames::http2(PING, 0, 0, &[7; 8]).repeat(1_000);
                    let mut connection = RawHttp2::connect(&target).await;
                    connection.flood((0..5_000).map(|_| pings.clone())).await;
                    sleep(Duration::from_millis(500)).await;
                })
            },
        },
        Flood {
            name: "HTTP/2 settings whose answers are not read",
            bound: 0,
            run: |target| {
                Box::pin(async move {
                    let settings = frames::http2(SETTINGS, 0, 0, b"").repeat(1_000);
                    let mut connection = RawHttp2::connect(&target).await;
                    connection.flood((0..5_000).map(|_| settings.clone())).await;
                    sleep(Duration::from_millis(500)).await;
                })
            },
        },
        Flood {
            name: "metadata without an end",
            bound: MIB,
            run: |target| {
                Box::pin(async move {
                    for _ in 0..8 {
                        let mut connection = RawHttp2::connect(&target).await;
                        let mut begin = frames::http2(HEADERS, 0, 1, &request("Dial"));
                        // A literal header, never indexed: "x", 10,000 times "y".
                        let mut field = vec![0x10, 1, b'x', 0x7f, 0x91, 0x4d];
                        field.extend([b'y'; 10_000]);
                        begin.extend(frames::http2(CONTINUATION, 0, 1, &field));
                        let more = frames::http2(CONTINUATION, 0, 1, &field).repeat(10);
                        let chunks = std::iter::once(begin).chain((0..1_000).map(|_| more.clone()));
                        assert!(connection.flood(chunks).await, "100 MB of metadata were taken");
                    }
                })
            },
        },
        Flood {
            name: "a frame of HTTP/2 of 16 MiB",
            bound: 0,
            run: |target| {
                Box::pin(async move {
                    let mut connection = RawHttp2::connect(&target).await;
                    let mut frame = frames::http2(HEADERS, END_HEADERS, 1, &request("Dial"));
                    frame.extend([0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
                    connection
                        .flood(std::iter::once(frame).chain((0..16).map(|_| vec![0; 1 << 20])))
                        .await;
                    connection.closed().await;
                })
            },
        },
        Flood {
            name: "streams opened and reset",
            bound: MIB,
            run: |target| {
                Box::pin(async move {
                    let mut connection = RawHttp2::connect(&target).await;
                    let (dial, cancel) = (request("Dial"), 8u32.to_be_bytes());
                    let chunks = (0..100_000u32).map(|n| {
                        let stream = 2 * n + 1;
                        let mut chunk = frames::http2(HEADERS, END_HEADERS, stream, &dial);
                        chunk.extend(frames::http2(RST_STREAM, 0, stream, &cancel));
                        chunk
                    });
                    connection.flood(chunks).await;
                    sleep(Duration::from_millis(200)).await;
                })
            },
        },
        Flood {
            // 32 registrations of an address may be without proof. A connection costs about 10 KiB.
            name: "registrations that prove nothing",
            bound: 300 * 64 * 1024,
            run: |target| {
                Box::pin(async move {
                    let mut connections = Vec::new();
                    for _ in 0..300 {
                        let mut connection = RawHttp2::connect(&target).await;
                        let mut block = request("Register");
                        // A zero byte precedes a name that is not in the table.
                        block.push(0);
                        for text in [header::EXEC_SERVER_ID, &"ab".repeat(16)] {
                            block.push(u8::try_from(text.len()).unwrap());
                            block.extend(text.bytes());
                        }
                        let register = frames::http2(HEADERS, END_HEADERS, 1, &block);
                        connection.flood(std::iter::once(register)).await;
                        connections.push(connection);
                    }
                    sleep(Duration::from_secs(1)).await;
                })
            },
        },
        Flood {
            name: "dials with a guessed token",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let guesses = scaled("dials with a guessed token", 500, 20_000);
                    let mut ticket = target.ticket.clone();
                    for _ in 0..guesses {
                        ticket.dial_token.0 = rand::random();
                        let client = Client::new(ticket.clone(), target.key());
                        within(client.run(Command::new("true"))).await.unwrap_err();
                    }
                })
            },
        },
        Flood {
            name: "accepts with a guessed token",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let mut relay = client(&target.ticket.relay_url).await;
                    for _ in 0..scaled("accepts with a guessed token", 1_000, 50_000) {
                        let headers = [
                            (header::EXEC_SERVER_ID, target.ticket.exec_server.to_string()),
                            (header::SESSION_ID, SessionId(rand::random()).to_string()),
                            (header::ACCEPT_TOKEN, HEXLOWER.encode(&rand::random::<[u8; 32]>())),
                        ];
                        let frames = tokio_stream::pending();
                        let refused = within(relay.accept(with_headers(frames, &headers))).await;
                        assert_eq!(refused.map(drop).unwrap_err().code(), Code::PermissionDenied);
                    }
                })
            },
        },
        Flood {
            name: "a registered exec-server that sends unsolicited pongs",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let (server, _) = RawServer::register(&target.ticket.relay_url).await;
                    for nonce in 0..scaled("unsolicited pongs", 20_000, 1_000_000) {
                        let kind = Some(register_request::Kind::Pong(Pong { nonce }));
                        within(server.outbox.send(RegisterRequest { kind }))
                            .await
                            .unwrap();
                    }
                })
            },
        },
        Flood {
            name: "sixteen sessions that are not read",
            bound: 16 * baton_relay::limits::session_worst_case() as u64 / 2,
            run: |target| Box::pin(stalled_sessions(target, 16)),
        },
        Flood {
            // A waiting dial holds its first frame. The relay ends a dial that sends more.
            name: "dials that wait, with all that they may send",
            bound: 64 * MIB / 4,
            run: |target| {
                Box::pin(async move {
                    let (mute, ticket) = RawServer::register(&target.ticket.relay_url).await;
                    let mut waiting = Vec::new();
                    for _ in 0..64 {
                        let ticket = ticket.clone();
                        waiting.push(tokio::spawn(async move {
                            within(dial_and_send(&ticket, vec![0; 60_000], 80)).await
                        }));
                    }
                    for dial in waiting {
                        // The relay refuses the dial or closes its connection.
                        let code = dial.await.unwrap().code();
                        assert_ne!(code, Code::Ok);
                    }
                    drop(mute);
                })
            },
        },
    ];
    let pid = stack.relay.pid();
    run_floods(&target, pid, floods).await;
}

/// Opens sessions to an exec-server that reads nothing, fills them, and keeps them open briefly.
async fn stalled_sessions(target: Arc<Target>, count: usize) {
    let (mut mute, ticket) = RawServer::register(&target.ticket.relay_url).await;
    let frame = Frame {
        noise: vec![7; 60_000].into(),
        ..Frame::default()
    };
    let mut held = Vec::new();
    for _ in 0..count {
        let (send, frames) = mpsc::channel(1);
        let mut relay = client(&ticket.relay_url).await;
        let headers = dial_headers(&ticket, SessionId(rand::random()));
        let dial = with_headers(ReceiverStream::new(frames), &headers);
        let dial = tokio::spawn(async move { relay.dial(dial).await });
        // The relay announces a dial when its first frame has arrived.
        let first = Frame {
            noise: vec![7; MESSAGE_1_LEN].into(),
            ..Frame::default()
        };
        send.send(first).await.unwrap();
        let incoming = mute.incoming().await;
        // A separate connection: the unread bytes would fill the window of the registration's connection.
        let mut relay = client(&ticket.relay_url).await;
        let headers = [
            (header::EXEC_SERVER_ID, ticket.exec_server.to_string()),
            (header::SESSION_ID, HEXLOWER.encode(&incoming.session_id)),
            (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
        ];
        let accepted = relay.accept(with_headers(tokio_stream::pending(), &headers));
        let accepted = within(accepted).await.unwrap();
        let dialled = within(dial).await.unwrap().unwrap();
        while let Ok(Ok(())) = timeout(Duration::from_millis(200), send.send(frame.clone())).await {}
        held.push((accepted, dialled, send));
    }
    sleep(Duration::from_millis(200)).await;
}

/// Dials an exec-server that does not accept, sends this many frames, and returns the refusal.
async fn dial_and_send(ticket: &Ticket, noise: Vec<u8>, frames: usize) -> Status {
    let frame = Frame {
        noise: noise.into(),
        ..Frame::default()
    };
    let frames = tokio_stream::iter(vec![frame; frames]).chain(tokio_stream::pending());
    let mut relay = client(&ticket.relay_url).await;
    let headers = dial_headers(ticket, SessionId(rand::random()));
    match relay.dial(with_headers(frames, &headers)).await {
        Ok(_) => panic!("the dial was accepted"),
        Err(refused) => refused,
    }
}

fn head(entries: usize) -> Vec<u8> {
    let head = Head {
        path: "/baton.exec.v1.Exec/Run".into(),
        metadata: (0..entries)
            .map(|at| Metadata {
                key: format!("x{at}"),
                value: "y".into(),
            })
            .collect(),
        ..Head::default()
    };
    head.encode_to_vec()
}

/// Opens as many streams as a session may have, sends `head` and `data` on each, and keeps them open briefly.
async fn on_every_stream(target: Arc<Target>, head: Vec<u8>, data: Vec<u8>) {
    let mut session = target.session().await;
    for id in 1..=MAX_STREAMS as StreamId {
        session.send(&frames::mux(kind::HEAD, id, &head)).await;
        for piece in data.chunks(60_000) {
            session.send(&frames::mux(kind::DATA, id, piece)).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
}

/// Starts `count` commands that sleep, each with these additional encoded fields. Keeps them open for `hold` after all
/// are answered. Returns their results.
async fn starts(
    target: Arc<Target>,
    count: u64,
    fields: impl Into<Bytes>,
    hold: Duration,
) -> Vec<Result<(), Status>> {
    let channel = baton_channel::Channel::new(target.ticket.clone(), target.key());
    let epoch = channel.connect().await.unwrap();
    let fields = fields.into();
    // A start has a deadline of ten seconds, and a debug build is slow, so few run concurrently.
    let at_once = Arc::new(Semaphore::new(16));
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (channel, fields, at_once) = (channel.clone(), fields.clone(), Arc::clone(&at_once));
        starting.spawn(async move {
            let _permit = at_once.acquire().await;
            let start = Start {
                process_id: rand::random::<[u8; 16]>().to_vec().into(),
                epoch: epoch.0.to_vec().into(),
                argv: vec!["sh".into(), "-c".into(), "exec sleep 600".into()],
                ..Start::default()
            };
            let start = [&start.encode_to_vec(), &fields[..]].concat();
            let mut request = vec![0x0a];
            prost::encoding::encode_varint(start.len() as u64, &mut request);
            request.extend_from_slice(&start);
            let path = http::uri::PathAndQuery::from_static("/baton.exec.v1.Exec/Run");
            let mut grpc = tonic::client::Grpc::new(channel);
            let requests = tokio_stream::iter([Bytes::from(request)]);
            let events = grpc.streaming(tonic::Request::new(requests), path, Raw).await;
            let mut events = events?.into_inner();
            events.message().await?;
            Ok::<_, Status>(events)
        });
    }
    let started = within(starting.join_all()).await;
    sleep(hold).await;
    let results = started.into_iter().map(|started| started.map(drop)).collect();
    channel.close().await;
    results
}

/// `count` encoded fields of this number, each holding `value`.
fn repeated(tag: u8, value: &[u8], count: usize) -> Vec<u8> {
    let field = [&[tag << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat();
    field.repeat(count)
}

/// A variable of a `Start`. Linux accepts any number of them, because all have one name.
const VARIABLE: &[u8] = b"\x0a\x01a";

/// A variable with an empty name, so short that a message of 4 MiB holds a million.
const SHORTEST_VARIABLE: &[u8] = b"\x0a\x00";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_starts_carry_an_exec_server_holds_no_more_than_their_messages() {
    let (stack, target) = start().await;
    let floods = vec![
        Flood {
            name: "starts with a million variables",
            // The buffer of a growing message is reallocated, which holds it twice. A refused message is freed with its
            // call.
            bound: 2 * large_starts() * 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let fields = repeated(5, SHORTEST_VARIABLE, 1_000_000);
                    for start in starts(target, large_starts(), fields, Duration::ZERO).await {
                        let refused = start.unwrap_err();
                        assert!(
                            refused.message().contains("at most 16384 environment variables"),
                            "{refused}"
                        );
                    }
                })
            },
        },
        Flood {
            name: "starts with as many arguments and variables as there may be, that run",
            bound: 2 * large_starts() * LARGEST_START + 32 * MIB,
            run: |target| {
                Box::pin(async move {
                    let mut fields = repeated(5, VARIABLE, ENVIRONMENT_MAX);
                    fields.extend(repeated(3, b"", ARGUMENTS_MAX - 3));
                    assert!((fields.len() as u64) < LARGEST_START);
                    for start in starts(target, large_starts(), fields, Duration::from_secs(1)).await {
                        start.unwrap();
                    }
                })
            },
        },
    ];
    let pid = stack.exec_server.pid();
    run_floods(&target, pid, floods).await;
}

/// Number of starts: the streams of a session, in a full run.
fn large_starts() -> u64 {
    scaled("starts with as many entries as fit", 64, MAX_STREAMS as u64)
}

/// Upper bound on the bytes of a start of the second flood.
const LARGEST_START: u64 = 256 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_server_s_memory_stays_within_its_bound() {
    let (stack, target) = start().await;
    let floods = vec![
        Flood {
            name: "handshakes of a key that is not on the list",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let stranger = Seed::generate().unwrap();
                    for _ in 0..scaled("handshakes of a stranger", 100, 5_000) {
                        let client = Client::new(target.ticket.clone(), stranger.client_key().unwrap());
                        within(client.run(Command::new("true"))).await.unwrap_err();
                    }
                })
            },
        },
        Flood {
            name: "handshakes that go no further",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let mut mute = Vec::new();
                    for _ in 0..14 {
                        mute.push(dial(&target.ticket, &target.key()).await);
                    }
                    for (end, _) in &mut mute {
                        within(async { while let Ok(Some(_)) = end.receive.message().await {} }).await;
                    }
                })
            },
        },
        Flood {
            name: "ten thousand streams",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(async move {
                    let mut session = target.session().await;
                    let head = head(0);
                    for some in (1..=10_000).collect::<Vec<StreamId>>().chunks(500) {
                        let heads: Vec<u8> = some
                            .iter()
                            .flat_map(|id| frames::mux(kind::HEAD, *id, &head))
                            .collect();
                        session.send(&heads).await;
                    }
                    sleep(Duration::from_millis(500)).await;
                })
            },
        },
        Flood {
            // Decoded twice, as `Head` and as headers, at about 200 bytes an entry each.
            name: "as much metadata as there may be, on every stream",
            bound: (MAX_STREAMS * METADATA_ENTRIES_MAX * 400) as u64,
            run: |target| Box::pin(on_every_stream(target, head(METADATA_ENTRIES_MAX), vec![])),
        },
        Flood {
            name: "a message of 4 MiB announced on every stream, and nothing of it sent",
            bound: 4 * MIB,
            run: |target| {
                Box::pin(on_every_stream(
                    target,
                    head(0),
                    [&[0][..], &(4u32 << 20).to_be_bytes()].concat(),
                ))
            },
        },
        Flood {
            name: "a message of 4 GiB announced on every stream",
            bound: 4 * MIB,
            run: |target| Box::pin(on_every_stream(target, head(0), vec![0, 0xff, 0xff, 0xff, 0xff])),
        },
        Flood {
            // Twice, because the buffer of a growing message is reallocated.
            name: "128 KiB of a first message on every stream",
            bound: 2 * MAX_STREAMS as u64 * 128 * 1024,
            run: |target| {
                let mut data = [&[0][..], &(4u32 << 20).to_be_bytes()].concat();
                data.resize(128 * 1024, 7);
                Box::pin(on_every_stream(target, head(0), data))
            },
        },
    ];
    let pid = stack.exec_server.pid();
    run_floods(&target, pid, floods).await;
}
