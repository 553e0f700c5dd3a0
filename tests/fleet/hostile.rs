//! Tenants and hosts that attack a fleet: other tenants are served, and nobody is believed who should not be.

use std::net::Ipv4Addr;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use baton_core_client::{Client, Command, Seed};
use baton_proto::limits::NOISE_MESSAGE_MAX;
use baton_proto::registration::dial_token_hash;
use baton_proto::relay::{Frame, HereRequest, RegisterRequest, register_request, register_response};
use baton_proto::{SessionId, header};
use baton_support::registration;
use baton_support::scale::{is_full, scaled};
use data_encoding::HEXLOWER;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use crate::fleet::Fleet;
use crate::network::{BALANCER, BALANCER_HOST, BALANCER_OF_STRANGERS, RELAYS, STRANGER_HOST};
use crate::raw::{RawServer, client, dial_headers, dial_with, request};
use crate::{PATIENCE, Verdict, within};

/// What a peer of HTTP/2 sends first, and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The answer to it begins with a SETTINGS frame: its type is in this byte.
const SETTINGS: (usize, u8) = (3, 4);

/// The first bytes of a header of the PROXY protocol, version 2.
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of one answer of a bystander's command.
const ANSWER: usize = 8_000_000;

/// A bystander's commands while somebody attacks.
const COMMANDS: usize = 5;

/// A bystander's command may take so much longer than before the attack. Nothing here may take as long as a stalled
/// session, which ends after 60 s.
const SLOWER: f64 = 4.0;

/// A bystander's command may take so long in any case: the attacker has a part of this machine's cores.
const SHORT: Duration = Duration::from_secs(2);

/// The same on a machine that other programs load.
const UNDER_LOAD: Duration = Duration::from_secs(20);

/// Time for a flood to fill every window and buffer.
const FILLING: Duration = Duration::from_secs(3);

pub(crate) fn url() -> String {
    format!("http://{BALANCER}")
}

/// A header of the PROXY protocol, version 2: a TCP connection from this address.
fn proxy_header(from: Ipv4Addr) -> Vec<u8> {
    let mut header = PROXY.to_vec();
    // PROXY; IPv4 and TCP; 12 bytes follow.
    header.extend([0x21, 0x11, 0, 12]);
    header.extend(from.octets());
    header.extend([10, 177, 0, 2]);
    header.extend(1_234_u16.to_be_bytes());
    header.extend(7_700_u16.to_be_bytes());
    header
}

/// Sends these bytes to this address from this host, and returns whether HTTP/2 is spoken there.
async fn is_served(from: &str, to: &str, bytes: &[u8]) -> bool {
    let speak = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(format!("{from}:0").parse().map_err(std::io::Error::other)?)?;
        let mut stream = socket.connect(to.parse().map_err(std::io::Error::other)?).await?;
        stream.write_all(bytes).await?;
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer[SETTINGS.0] == SETTINGS.1)
    };
    matches!(timeout(PATIENCE, speak).await, Ok(Ok(true)))
}

/// A relay believes the addresses of its balancer, and serves it with them only.
pub(crate) async fn forged_addresses(_: &Fleet) -> Verdict {
    let header = proxy_header(Ipv4Addr::new(203, 0, 113, 7));
    let with_header = [&header[..], HELLO].concat();
    for relay in RELAYS {
        for (what, from, bytes, expected) in [
            (
                "the balancer with a header",
                BALANCER_HOST,
                &with_header[..],
                true,
            ),
            ("the balancer without a header", BALANCER_HOST, HELLO, false),
            ("a stranger with a header", STRANGER_HOST, &with_header[..], false),
        ] {
            if is_served(from, relay, bytes).await != expected {
                return Err(format!(
                    "{what} is {} by {relay}",
                    if expected { "not served" } else { "served" }
                ));
            }
        }
    }
    // A client that sends a header of its own to the balancer.
    if is_served(STRANGER_HOST, BALANCER, &with_header).await {
        return Err("the balancer believes a client's header".into());
    }
    match is_served(STRANGER_HOST, BALANCER, HELLO).await {
        true => Ok(format!("{} connections", RELAYS.len() * 3 + 2)),
        false => Err("the balancer does not serve a client".into()),
    }
}

/// A registration or an accept whose header names another exec-server is refused, and that one stays reachable.
pub(crate) async fn lies(fleet: &Fleet) -> Verdict {
    let rounds = scaled("false headers of each kind", 5, 50);
    for round in 0..rounds {
        let victim = &fleet.exec_servers[round as usize % fleet.exec_servers.len()].ticket;
        let code = register_as(&victim.exec_server.to_string()).await;
        if code != Some(Code::InvalidArgument) {
            return Err(format!("a registration in another's name: {code:?}"));
        }

        // Its own exec-server, a dial of it, and an accept of that dial in the victim's name.
        let (mut server, ticket) = within(RawServer::register(&url())).await;
        let session = SessionId(rand::random());
        let headers = dial_headers(&ticket, session);
        let dialling = tokio::spawn({
            let ticket = ticket.clone();
            async move { dial_with(&ticket, &headers, vec![7; 1_500].into()).await }
        });
        let incoming = server.incoming().await;
        let lie = [
            (header::EXEC_SERVER_ID, victim.exec_server.to_string()),
            (header::SESSION_ID, session.to_string()),
            (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
        ];
        let (send, frames) = mpsc::channel::<Frame>(1);
        let accepted = within(
            client(&url())
                .await
                .accept(request(ReceiverStream::new(frames), &lie)),
        )
        .await;
        drop(send);
        // By the relay with the dial, or by the one of the victim, which knows no such dial.
        match accepted.map_err(|status| status.code()) {
            Err(Code::InvalidArgument | Code::PermissionDenied) => {}
            other => {
                return Err(format!(
                    "an accept in another's name: {:?}",
                    other.map(|_| "accepted")
                ));
            }
        }
        // The dial goes on waiting, and the truth is accepted.
        let _accepted = server.accept(&incoming).await;
        within(dialling).await.map_err(|error| error.to_string())?;
    }
    for exec_server in 0..fleet.exec_servers.len() {
        let client = fleet.client(exec_server);
        within(client.connect())
            .await
            .map_err(|error| error.to_string())?;
        client.close().await;
    }
    Ok(format!("{rounds} of each kind"))
}

/// Asks `Here` in this exec-server's name, so that a table might store a relay that does not have it: with an own id
/// beside it, and with headers that are too long for the relay.
pub(crate) async fn here_as(id: &str, own: &str) {
    let long = "x".repeat(9_000);
    for (ids, more) in [
        (&[id][..], ""),
        (&[own, id], ""),
        (&[id, own], ""),
        (&[&format!("{own},{id}")], ""),
        (&[id], &long),
        (&[own, id], &long),
    ] {
        let mut here = Request::new(HereRequest {});
        for id in ids {
            here.metadata_mut()
                .append(header::EXEC_SERVER_ID, id.parse().expect("a header"));
        }
        here.metadata_mut()
            .insert("more", more.parse().expect("a header"));
        // Answered by OK, by an error, or not at all: the table is what counts.
        let _ = within(client(&url()).await.here(here)).await;
    }
}

/// Registers with a proof of an own key and this id in the header. Returns the code of the refusal.
pub(crate) async fn register_as(id: &str) -> Option<Code> {
    let keys = Seed::generate().expect("a key").server_keys().expect("keys");
    let (outbox, requests) = mpsc::channel(1);
    let headers = [(header::EXEC_SERVER_ID, id.to_owned())];
    let requests = request(ReceiverStream::new(requests), &headers);
    let mut registration = match within(client(&url()).await.register(requests)).await {
        Ok(registration) => registration.into_inner(),
        Err(status) => return Some(status.code()),
    };
    loop {
        match within(registration.message()).await {
            Err(status) => return Some(status.code()),
            Ok(None) => return None,
            Ok(Some(message)) => {
                if let Some(register_response::Kind::Challenge(challenge)) = message.kind {
                    let public = keys.registration.public();
                    let hash = dial_token_hash(&keys.dial_token.0);
                    let sign = |message: &[u8]| keys.registration.sign(message);
                    let proof = registration::proof(public, sign, &challenge.nonce, BALANCER, &hash);
                    let kind = Some(register_request::Kind::Proof(proof));
                    // Fails if the relay has refused already.
                    let _ = outbox.send(RegisterRequest { kind }).await;
                } else {
                    return None;
                }
            }
        }
    }
}

/// Commands of a warm client of this exec-server that print [`ANSWER`] bytes, one after another. Returns the longest
/// time.
async fn bystander(client: &Client) -> Result<Duration, String> {
    let mut longest = Duration::ZERO;
    for _ in 0..COMMANDS {
        let began = Instant::now();
        let command = Command::new("head").args(["-c", &ANSWER.to_string(), "/dev/zero"]);
        let output = timeout(2 * PATIENCE, client.run(command))
            .await
            .map_err(|_| "a bystander's command does not end")?
            .map_err(|error| format!("a bystander's command fails: {error}"))?;
        if output.stdout.len() != ANSWER {
            return Err(format!("a bystander gets {} bytes", output.stdout.len()));
        }
        longest = longest.max(began.elapsed());
    }
    Ok(longest)
}

/// The times of bystanders before and during an attack.
fn compare(alone: Duration, attacked: Duration, detail: &str) -> Verdict {
    let detail = format!(
        "{detail}; a bystander's longest command of {COMMANDS} took {} ms before and {} ms meanwhile",
        alone.as_millis(),
        attacked.as_millis()
    );
    let bound = match is_full() {
        true => alone.mul_f64(SLOWER).max(SHORT),
        false => UNDER_LOAD,
    };
    match attacked <= bound {
        true => Ok(detail),
        false => Err(format!("more than {bound:?}: {detail}")),
    }
}

/// A tenant registers exec-servers of its own, dials them, sends without end in both directions and reads nothing.
/// Every other tenant is served as before.
pub(crate) async fn tenant(fleet: &Fleet) -> Verdict {
    let exec_servers = scaled("hostile exec-servers", 6, 8) as usize;
    let sessions = scaled("sessions of each", 8, 16) as usize;
    let clients: Vec<_> = (0..fleet.exec_servers.len())
        .map(|number| fleet.client(number))
        .collect();
    let mut alone = Duration::ZERO;
    for client in &clients {
        alone = alone.max(bystander(client).await?);
    }
    let attacker = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let attacked = beside_flood(fleet, &clients, &attacker, exec_servers, sessions).await;
    // A runtime must not be dropped here, but this may be called.
    attacker.shutdown_background();
    let attacked = attacked?;
    compare(
        alone,
        attacked,
        &format!("{} stalled sessions", exec_servers * sessions),
    )
}

/// Begins the flood, and returns the longest time of a bystander's command meanwhile.
async fn beside_flood(
    fleet: &Fleet,
    warm: &[Client],
    attacker: &Runtime,
    exec_servers: usize,
    sessions: usize,
) -> Result<Duration, String> {
    let before: u64 = fleet.balancer.streams().await.into_iter().sum();
    let (begun, begins) = oneshot::channel();
    attacker.spawn(flood(exec_servers, sessions, begun));
    within(begins).await.map_err(|error| error.to_string())?;
    sleep(FILLING).await;
    let mut longest = Duration::ZERO;
    for client in warm {
        longest = longest.max(bystander(client).await?);
    }
    for number in 0..fleet.exec_servers.len() {
        let cold = fleet.client(number);
        longest = longest.max(bystander(&cold).await?);
        cold.close().await;
    }
    let after: u64 = fleet.balancer.streams().await.into_iter().sum();
    let stalled = 2 * exec_servers * sessions;
    // A few of them may be ended: it is the attack that must have been there.
    match after >= before + stalled as u64 * 3 / 4 {
        true => Ok(longest),
        false => Err(format!(
            "of {stalled} streams of the attacker many have ended: {before}, then {after}"
        )),
    }
}

/// Registers exec-servers, dials them, tells when all sessions are there, and sends on both ends of each.
async fn flood(exec_servers: usize, sessions: usize, begun: oneshot::Sender<()>) {
    let url = format!("http://{BALANCER_OF_STRANGERS}");
    let (mut servers, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..exec_servers {
        let (mut server, ticket) = within(RawServer::register(&url)).await;
        for _ in 0..sessions {
            let headers = dial_headers(&ticket, SessionId(rand::random()));
            let dialled = dial_with(&ticket, &headers, vec![7; 1_500].into());
            let accepted = async {
                let incoming = server.incoming().await;
                server.accept(&incoming).await
            };
            let (dialled, accepted) = tokio::join!(dialled, accepted);
            ends.extend([dialled, accepted]);
        }
        // Its registration lives as long.
        servers.push(server);
    }
    let mut flood = JoinSet::new();
    for end in ends {
        flood.spawn(async move {
            let frame = Frame {
                noise: vec![7; NOISE_MESSAGE_MAX].into(),
                ..Frame::default()
            };
            // Until the relay ends the session, of which nothing is read.
            while end.send.send(frame.clone()).await.is_ok() {}
            end
        });
    }
    // Fails if nobody waits.
    let _ = begun.send(());
    std::future::pending::<()>().await;
}

/// `baton exec` that is stopped amid endless output. Killed when dropped.
struct Stopped(Child);

impl Stopped {
    fn start(mut command: Process) -> std::io::Result<Self> {
        let streams = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(streams.spawn()?))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Fails only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Clients of an exec-server share its connection to the balancer. Some of them are stopped and read nothing; the
/// others are served as before.
pub(crate) async fn stopped_client(fleet: &Fleet) -> Verdict {
    let count = scaled("stopped clients", 3, 10);
    let client = fleet.client(0);
    let alone = bystander(&client).await?;
    let mut stopped = Vec::new();
    for _ in 0..count {
        let program =
            Stopped::start(fleet.exec(0, &["cat", "/dev/zero"])).map_err(|error| error.to_string())?;
        stopped.push(program);
    }
    sleep(FILLING).await;
    for program in &stopped {
        kill_process(Pid::from_child(&program.0), Signal::STOP).map_err(|error| error.to_string())?;
    }
    sleep(FILLING).await;
    let attacked = bystander(&client).await?;
    let cold = fleet.client(0);
    let attacked = attacked.max(bystander(&cold).await?);
    cold.close().await;
    for program in &mut stopped {
        if let Ok(Some(status)) = program.0.try_wait() {
            return Err(format!("a stopped client has ended: {status}"));
        }
    }
    compare(alone, attacked, &format!("{count} stopped clients"))
}
