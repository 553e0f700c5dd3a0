//! Attacks that drive a relay process of the real binary to its memory budget. The formula of `baton_relay::limits`
//! bounds its memory, and a client from another address is served meanwhile.

use std::net::SocketAddr;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::Duration;

use baton_core_client::Ticket;
use baton_noise::MESSAGE_1_LEN;
use baton_proto::SessionId;
use baton_proto::relay::{Frame, Incoming};
use baton_relay::limits::worst_case;
use baton_support::frames;
use baton_support::process::usage::resident_bytes;
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

/// The relay's memory budget (`--memory`), in MiB.
const MEMORY: u64 = 256;

/// Sessions on one connection.
const PER_CONNECTION: usize = 64;

/// The relay's stated memory of a dial that waits, with the share of its connection
/// (`baton_relay::limits::Limits::waiting`).
const WAITING_DIAL_BYTES: u64 = 17 * 1024;

/// A write has stalled when the peer has taken no byte for this long.
const STALLED: Duration = Duration::from_millis(300);

struct Relay {
    program: RunningProgram,
    address: SocketAddr,
}

impl Relay {
    /// A relay with this memory budget, in MiB.
    async fn start(memory: u64) -> Self {
        let start = move || {
            let mut command = isolated(Process::new(baton().unwrap()), None);
            command.args(["relay", "--listen", "127.0.0.1:0", "--memory"]);
            command.arg(format!("{memory}MiB"));
            let mut program = RunningProgram::start("relay", command).unwrap();
            let address = program
                .line_after("listening on ", Duration::from_secs(60))
                .unwrap();
            Relay {
                program,
                address: address.parse().unwrap(),
            }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A connection from the attacker's address.
async fn connect(relay: SocketAddr) -> TcpStream {
    connect_from([127, 0, 0, 2], relay).await
}

async fn connect_from(address: [u8; 4], relay: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    let mut stream = socket.connect(relay).await.unwrap();
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // The attacker reads no answers, so it announces a window of 0.
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
    bytes.extend(frames::http2(DATA, 0, stream, &frame(MESSAGE_1_LEN)));
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

/// Writes until the relay stalls or closes (`false`), or all is written (`true`).
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    matches!(timeout(STALLED, stream.write_all(bytes)).await, Ok(Ok(())))
}

/// Accepts every session on separate connections, reads none of them, and sends on each until it stalls.
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
            // The relay may have ended this session to free memory, so the result is not checked.
            while let Ok(Ok(())) = timeout(STALLED, send.send(frame.clone())).await {}
            held.lock()
                .await
                .push(Box::new((accepted.map(tonic::Response::into_inner), send)));
        });
    }
    sending.join_all().await;
    held.lock().await.push(Box::new(server));
}

/// Dials and accepts a session from another address, and sends a frame through it.
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
        noise: vec![9; MESSAGE_1_LEN].into(),
        ..Frame::default()
    };
    send.send(frame.clone()).await.unwrap();
    let incoming = server.incoming().await;
    let mut accepted = server.accept(&incoming).await;
    assert_eq!(accepted.next().await, frame.noise);
    within(dialled).await.unwrap().unwrap();
}

/// Runs an attack on a relay and checks its peak memory, while an honest client from another address is served.
async fn run_attack(
    what: &str,
    sessions: usize,
    attack: impl AsyncFnOnce(SocketAddr, &Ticket, watch::Receiver<usize>) -> Vec<TcpStream>,
) {
    let relay = Relay::start(MEMORY).await;
    let url = relay.url();
    let (server, ticket) = RawServer::register(&url).await;
    let peak = Peak::watch(relay.program.pid());
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
        // The relay refuses sessions beyond its memory and does not announce them, so this may not complete.
        let _ = timeout(Duration::from_secs(20), accepting).await;
    };
    tokio::join!(bystander, all_accepted);
    let most = peak.stop();
    drop((held, connections));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bound = worst_case((MEMORY * MIB) as usize, threads) as u64;
    println!(
        "{what}: peak {:.1} MiB, limit {}",
        most as f64 / MIB as f64,
        bound / MIB
    );
    assert!(most <= bound, "{what}: {most} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_million_frames_of_a_byte_on_each_of_sixteen_connections_stay_within_the_budget() {
    const CONNECTIONS: usize = 16;
    const FRAMES: usize = 520_000;
    run_attack("frames of a byte", CONNECTIONS, async |address, ticket, _| {
        let mut writing = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(address).await;
            assert!(write(&mut stream, &dial(ticket, 1)).await);
            writing.spawn(async move {
                // The relay answers when the session is accepted.
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
    run_attack(
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
    run_attack("frames without an end", 0, async |address, _, _| {
        let mut connections = Vec::new();
        for _ in 0..200 {
            let mut stream = connect(address).await;
            let mut bytes = frames::http2(HEADERS, END_HEADERS, 1, &request("Dial"));
            bytes.extend([0x03, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
            bytes.resize(bytes.len() + 0x3_fffe, 7);
            let _ = write(&mut stream, &bytes).await;
            // The relay closes the connection, which ends the read.
            let mut rest = Vec::new();
            let _ = within(stream.read_to_end(&mut rest)).await;
            connections.push(stream);
        }
        connections
    })
    .await;
}

/// Each dial has its first frame and waits. Eight exec-servers accept none: 256 dials of each are announced, and 1,024
/// of each wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_dials_cost_what_is_stated_for_each() {
    const EXEC_SERVERS: u8 = 8;
    const DIALS: usize = 10_000 / EXEC_SERVERS as usize;
    let relay = Relay::start(1024).await;
    let url = relay.url();
    let mut servers = Vec::new();
    for _ in 0..EXEC_SERVERS {
        servers.push(RawServer::register(&url).await);
    }
    let before = resident_bytes(relay.program.pid()).unwrap();
    let peak = Peak::watch(relay.program.pid());
    let mut connections = Vec::new();
    for ((_, ticket), address) in servers.iter().zip(2..) {
        for first in (0..DIALS).step_by(PER_CONNECTION) {
            let mut stream = connect_from([127, 0, 0, address], relay.address).await;
            for at in 0..PER_CONNECTION.min(DIALS - first) {
                assert!(write(&mut stream, &dial(ticket, 2 * at as u32 + 1)).await);
            }
            connections.push(stream);
        }
    }
    honest(&url).await;
    let growth = peak.stop() - before;
    let dials = u64::from(EXEC_SERVERS) * DIALS as u64;
    println!("{} bytes a dial", growth / dials);
    assert!(
        growth > dials * MESSAGE_1_LEN as u64,
        "the dials wait: {growth} bytes"
    );
    assert!(growth <= dials * WAITING_DIAL_BYTES, "{growth} bytes");
}
