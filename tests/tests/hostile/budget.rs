//! The memory of a relay that is a process of the real binary, driven to its budget: the formula of `baton_relay::limits` holds, and a
//! client of another address is served meanwhile.

use std::net::SocketAddr;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::Duration;

use baton_core_client::Ticket;
use baton_proto::SessionId;
use baton_proto::relay::{Frame, Incoming};
use baton_relay::limits::worst_case;
use baton_support::frames;
use baton_support::process::{RunningProgram, baton, isolated};
use data_encoding::HEXLOWER;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::memory::{DATA, END_HEADERS, HEADERS, MIB, Peak, SETTINGS, request};
use crate::raw::{RawServer, client, dial_headers, request as with_headers};
use crate::within;

/// What the relay is told to keep to, in MiB.
const MEMORY: u64 = 256;

/// Sessions on one connection.
const PER_CONNECTION: usize = 64;

/// A peer stalls when nothing was taken for this long.
const STALLED: Duration = Duration::from_millis(300);

struct Relay {
    part: RunningProgram,
    address: SocketAddr,
}

impl Relay {
    async fn start() -> Self {
        let start = || {
            let mut command = isolated(Process::new(baton().unwrap()), None);
            command.args(["relay", "--listen", "127.0.0.1:0", "--memory"]);
            command.arg(format!("{MEMORY}MiB"));
            let mut part = RunningProgram::start("relay", command).unwrap();
            let address = part.line_after("listening on ", Duration::from_secs(60)).unwrap();
            Relay {
                part,
                address: address.parse().unwrap(),
            }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A connection from an address that nobody honest has.
async fn connect(relay: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut stream = socket.connect(relay).await.unwrap();
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Nobody reads the answers: no window for them.
    let no_window = [0, 4, 0, 0, 0, 0];
    hello.extend(frames::http2(SETTINGS, 0, 0, &no_window));
    stream.write_all(&hello).await.unwrap();
    stream
}

/// The request of a dial, with its first frame, as one write.
fn dial(ticket: &Ticket, stream: u32) -> Vec<u8> {
    let mut block = request("Dial");
    for (name, value) in dial_headers(ticket, SessionId(rand::random())) {
        // A literal header, never indexed.
        block.extend([0x10, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    let mut bytes = frames::http2(HEADERS, END_HEADERS, stream, &block);
    bytes.extend(frames::http2(DATA, 0, stream, &frame(96)));
    bytes
}

/// A gRPC message around a `Frame` around a Noise message of this length.
fn frame(len: usize) -> Vec<u8> {
    let frame = Frame {
        noise: vec![7; len].into(),
        ..Frame::default()
    };
    frames::grpc(&frame)
}

/// Writes until the relay takes no more, closes, or all is written.
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    matches!(timeout(STALLED, stream.write_all(bytes)).await, Ok(Ok(())))
}

/// Accepts every session on connections of its own, and reads none of them; sends on each until it takes no more.
async fn accept_all(
    mut server: RawServer,
    url: String,
    count: usize,
    accepted: watch::Sender<usize>,
    held: Arc<Mutex<Vec<Box<dyn Send>>>>,
) {
    let mut sending = JoinSet::new();
    let mut relay = client(&url).await;
    for at in 0..count {
        if at > 0 && at % PER_CONNECTION == 0 {
            relay = client(&url).await;
        }
        let Incoming {
            session_id,
            accept_token,
            ..
        } = server.incoming().await;
        let headers = [
            (baton_proto::header::EXEC_SERVER_ID, server.id().to_string()),
            (baton_proto::header::SESSION_ID, HEXLOWER.encode(&session_id)),
            (baton_proto::header::ACCEPT_TOKEN, HEXLOWER.encode(&accept_token)),
        ];
        let (send, frames) = mpsc::channel(1);
        let mut relay = relay.clone();
        let (held, count) = (held.clone(), accepted.clone());
        sending.spawn(async move {
            let accepted = within(relay.accept(with_headers(ReceiverStream::new(frames), &headers))).await;
            count.send_modify(|count| *count += 1);
            let frame = Frame {
                noise: vec![7; 60_000].into(),
                ..Frame::default()
            };
            // One that was ended meanwhile for the memory it held is what this is about.
            while let Ok(Ok(())) = timeout(STALLED, send.send(frame.clone())).await {}
            held.lock()
                .await
                .push(Box::new((accepted.map(tonic::Response::into_inner), send)));
        });
    }
    sending.join_all().await;
    held.lock().await.push(Box::new(server));
}

/// A session of another address: dialled, accepted, and a frame goes through.
async fn honest(url: &str) {
    let (mut server, ticket) = RawServer::register(url).await;
    let (send, frames) = mpsc::channel(1);
    let mut relay = client(url).await;
    let headers = dial_headers(&ticket, SessionId(rand::random()));
    let dialled = tokio::spawn(async move {
        relay
            .dial(with_headers(ReceiverStream::new(frames), &headers))
            .await
    });
    let frame = Frame {
        noise: vec![9; 96].into(),
        ..Frame::default()
    };
    send.send(frame.clone()).await.unwrap();
    let incoming = server.incoming().await;
    let mut accepted = server.accept(&incoming).await;
    assert_eq!(accepted.next().await, frame.noise);
    within(dialled).await.unwrap().unwrap();
}

/// Drives a relay, and checks what it takes while an honest client of another address is served.
async fn drive(
    what: &str,
    sessions: usize,
    attack: impl AsyncFnOnce(SocketAddr, &Ticket, watch::Receiver<usize>) -> Vec<TcpStream>,
) {
    let relay = Relay::start().await;
    let url = relay.url();
    let (server, ticket) = RawServer::register(&url).await;
    let peak = Peak::watch(relay.part.pid());
    let held = Arc::default();
    let (count, accepted) = watch::channel(0);
    let accepting = tokio::spawn(accept_all(
        server,
        url.clone(),
        sessions,
        count,
        Arc::clone(&held),
    ));
    let connections = attack(relay.address, &ticket, accepted).await;
    let bystander = async {
        for _ in 0..20 {
            honest(&url).await;
        }
    };
    let all_accepted = async {
        // Sessions beyond the memory are refused, and never announced.
        let _ = timeout(Duration::from_secs(20), accepting).await;
    };
    tokio::join!(bystander, all_accepted);
    let most = peak.stop();
    drop((held, connections));
    let bound = worst_case((MEMORY * MIB) as usize) as u64;
    println!(
        "{what}: {:.1} MiB at most, of {} allowed",
        most as f64 / MIB as f64,
        bound / MIB
    );
    assert!(most <= bound, "{what}: {most} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_million_frames_of_a_byte_on_each_of_sixteen_connections_stay_within_the_budget() {
    const CONNECTIONS: usize = 16;
    const FRAMES: usize = 520_000;
    drive("frames of a byte", CONNECTIONS, async |address, ticket, _| {
        let mut writing = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(address).await;
            assert!(write(&mut stream, &dial(ticket, 1)).await);
            writing.spawn(async move {
                // Answered once it is accepted.
                let answered = within(stream.read(&mut [0; 1])).await;
                assert_eq!(answered.unwrap(), 1);
                let message = frame(65_000);
                let bytes: Vec<u8> = message.iter().copied().cycle().take(FRAMES).collect();
                for part in bytes.chunks(1_000) {
                    let frames: Vec<u8> = part
                        .iter()
                        .flat_map(|byte| frames::http2(DATA, 0, 1, &[*byte]))
                        .collect();
                    if !write(&mut stream, &frames).await {
                        break;
                    }
                }
                stream
            });
        }
        writing.join_all().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_that_never_read_stay_within_the_budget() {
    const SESSIONS: usize = 1_000;
    drive(
        "sessions that never read",
        SESSIONS,
        async |address, ticket, accepted| {
            let mut writing = JoinSet::new();
            for first in (0..SESSIONS).step_by(PER_CONNECTION) {
                let count = PER_CONNECTION.min(SESSIONS - first);
                let mut stream = connect(address).await;
                for at in 0..count {
                    assert!(write(&mut stream, &dial(ticket, 2 * at as u32 + 1)).await);
                }
                let mut accepted = accepted.clone();
                writing.spawn(async move {
                    within(accepted.wait_for(|accepted| *accepted == SESSIONS))
                        .await
                        .unwrap();
                    let message = frame(15_000);
                    'all: for _ in 0..250 {
                        for at in 0..count {
                            let data = frames::http2(DATA, 0, 2 * at as u32 + 1, &message);
                            if !write(&mut stream, &data).await {
                                break 'all;
                            }
                        }
                    }
                    stream
                });
            }
            writing.join_all().await
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_nearly_complete_takes_nothing_from_a_peer_without_a_session() {
    drive("frames without an end", 0, async |address, _, _| {
        let mut connections = Vec::new();
        for _ in 0..200 {
            let mut stream = connect(address).await;
            let mut bytes = frames::http2(HEADERS, END_HEADERS, 1, &request("Dial"));
            bytes.extend([0x03, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
            bytes.resize(bytes.len() + 0x3_fffe, 7);
            let _ = write(&mut stream, &bytes).await;
            // Closed: reading comes to an end.
            let mut rest = Vec::new();
            let _ = within(stream.read_to_end(&mut rest)).await;
            connections.push(stream);
        }
        connections
    })
    .await;
}
