//! Strangers that have a ticket and no allowed key can slow an allowed client down, and nothing else.
//!
//! Five hundred dials a second from four addresses, of every kind that costs the sender little, against a relay and an
//! exec-server that are processes of the real binary. An allowed client opens a session of its own for each command.
//! Every command must succeed, with a p99 of at most five times the p99 without strangers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use baton_core_client::{ChannelConfig, Client, Command, RelayRoots, Seed, StaticKey, Ticket};
use baton_noise::{Initiator, prologue};
use baton_proto::SessionId;
use baton_proto::relay::Frame;
use baton_support::frames;
use baton_support::process::{RunningProgram, baton, isolated};
use baton_support::scale::{is_full, scaled};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::memory::{DATA, END_HEADERS, HEADERS, SETTINGS, request};
use crate::raw::{RawServer, dial_headers};
use crate::within;

/// A stranger drops its connection after this time.
const PATIENCE: Duration = Duration::from_secs(6);

const START: Duration = Duration::from_secs(60);

/// What a stranger sends after the request headers of its dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    /// A first frame, one byte a second.
    Slow,
    /// A first frame of random bytes.
    Garbage,
    /// Message 1 of a key that is not allowed.
    Unlisted,
    /// Message 1 of another allowed key, and nothing after it.
    Listed,
    /// Message 1 of the allowed client's own key, and nothing after it: a leaked key, or a relay that replays messages.
    OwnKey,
    /// The first bytes of a TLS handshake, and nothing after them.
    TlsHello,
}

/// The relay, the exec-server, and the keys of the allowed clients.
struct Testbed {
    _relay: RunningProgram,
    _exec_server: RunningProgram,
    relay: SocketAddr,
    ticket: Ticket,
    seed: Seed,
    /// The key of another allowed client.
    other: Seed,
    roots: Option<RelayRoots>,
    _dir: tempfile::TempDir,
}

impl Testbed {
    async fn start(has_tls: bool) -> Self {
        tokio::task::spawn_blocking(move || Self::start_blocking(has_tls))
            .await
            .unwrap()
    }

    fn start_blocking(has_tls: bool) -> Self {
        let dir = tempfile::TempDir::with_prefix("baton-").unwrap();
        let path = |name: &str| dir.path().join(name);
        let seed = Seed::generate().unwrap();
        let other = Seed::generate().unwrap();
        let public = |seed: &Seed| *seed.client_key().unwrap().public();
        let allowed = format!("{} honest clamp\n{} other clamp\n", public(&seed), public(&other));
        write_private(&path("allowed"), &allowed);

        let mut command = isolated(Process::new(baton().unwrap()), None);
        command.args(["relay", "--listen", "127.0.0.1:0"]);
        if has_tls {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            write_private(&path("cert"), &params.self_signed(&key).unwrap().pem());
            write_private(&path("key"), &key.serialize_pem());
            command
                .arg("--tls-cert")
                .arg(path("cert"))
                .arg("--tls-key")
                .arg(path("key"));
        }
        let mut relay_part = RunningProgram::start("relay", command).unwrap();
        let relay: SocketAddr = relay_part
            .line_after("listening on ", START)
            .unwrap()
            .parse()
            .unwrap();

        let mut command = isolated(Process::new(baton().unwrap()), None);
        let url = if has_tls {
            format!("https://localhost:{}", relay.port())
        } else {
            format!("http://{relay}")
        };
        command.args(["exec-server", "--state", "none", "--relay", &url, "--key"]);
        command
            .arg(path("server_key"))
            .arg("--allow")
            .arg(path("allowed"));
        if has_tls {
            command.arg("--relay-ca").arg(path("cert"));
        }
        let mut exec_server = RunningProgram::start("exec-server", command).unwrap();
        let ticket = exec_server
            .line_after("ticket: ", START)
            .unwrap()
            .parse()
            .unwrap();
        Self {
            _relay: relay_part,
            _exec_server: exec_server,
            relay,
            ticket,
            seed,
            other,
            roots: has_tls.then(|| RelayRoots::from_pem_file(&path("cert")).unwrap()),
            _dir: dir,
        }
    }

    fn key(&self) -> StaticKey {
        self.seed.client_key().unwrap()
    }

    /// Runs commands one after another, each in a session of its own. Returns their durations, sorted.
    async fn honest(&self, commands: u64) -> Vec<Duration> {
        let mut took = Vec::new();
        for at in 0..commands {
            let started = Instant::now();
            let config = ChannelConfig {
                relay_roots: self.roots.clone().unwrap_or_default(),
                ..ChannelConfig::default()
            };
            let client = Client::with_config(self.ticket.clone(), self.key(), config);
            let output = within(client.run(Command::new("echo").arg("ok"))).await;
            let output = output.unwrap_or_else(|error| panic!("command {at} of an allowed client: {error}"));
            assert_eq!(output.stdout, b"ok\n");
            took.push(started.elapsed());
            client.close().await;
        }
        took.sort();
        took
    }

    /// Strangers dial from these addresses at this rate per second, until the future is dropped.
    async fn strangers(&self, ticket: &Ticket, kinds: &[Kind], rate: u64, addresses: &[[u8; 4]]) {
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = JoinSet::new();
        for at in 0_usize.. {
            ticks.tick().await;
            while under_way.try_join_next().is_some() {}
            let address = addresses[at % addresses.len()];
            let kind = kinds[(at / addresses.len()) % kinds.len()];
            let bytes = self.dial_of(ticket, kind);
            let relay = self.relay;
            under_way.spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind((address, 0).into()).unwrap();
                // The relay may close surplus connections.
                let Ok(mut stream) = socket.connect(relay).await else {
                    return;
                };
                let _ = stream.write_all(&bytes).await;
                if kind == Kind::Slow {
                    for byte in [0, 0, 0, 0, 98] {
                        sleep(Duration::from_secs(1)).await;
                        let _ = stream.write_all(&frames::http2(DATA, 0, 1, &[byte])).await;
                    }
                }
                sleep(PATIENCE).await;
            });
        }
    }

    /// The bytes that a stranger sends first.
    fn dial_of(&self, ticket: &Ticket, kind: Kind) -> Vec<u8> {
        if kind == Kind::TlsHello {
            // The beginning of a handshake record (RFC 8446 section 5.1) whose rest is never sent.
            return vec![22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        }
        let session = SessionId(rand::random());
        let mut block = request("Dial");
        for (name, value) in dial_headers(ticket, session) {
            // A literal header, never indexed.
            block.extend([0x10, name.len() as u8]);
            block.extend(name.bytes());
            block.push(value.len() as u8);
            block.extend(value.bytes());
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frames::http2(SETTINGS, 0, 0, b""));
        bytes.extend(frames::http2(HEADERS, END_HEADERS, 1, &block));
        let message_1 = |key: &StaticKey| {
            let prologue = prologue(ticket.exec_server, session);
            Initiator::start(key, &ticket.noise_key, &prologue).unwrap().1
        };
        let noise = match kind {
            Kind::Silent | Kind::Slow | Kind::TlsHello => return bytes,
            Kind::Garbage => (0..96).map(|_| rand::random::<u8>()).collect(),
            Kind::Unlisted => message_1(&Seed::generate().unwrap().client_key().unwrap()),
            Kind::Listed => message_1(&self.other.client_key().unwrap()),
            Kind::OwnKey => message_1(&self.key()),
        };
        let message = Frame {
            noise,
            ..Frame::default()
        }
        .encode_to_vec();
        let mut first = vec![0];
        first.extend((message.len() as u32).to_be_bytes());
        first.extend(message);
        bytes.extend(frames::http2(DATA, 0, 1, &first));
        bytes
    }

    /// Compares the durations of commands without and with strangers.
    async fn compare(&self, what: &str, strangers: impl Future<Output = ()>) {
        let commands = scaled("commands of an allowed client", 30, 300);
        let alone = self.honest(commands).await;
        let beside = tokio::select! {
            beside = async {
                // The number of open silent dials grows until the first of them end.
                sleep(PATIENCE).await;
                self.honest(commands).await
            } => beside,
            () = strangers => unreachable!("strangers dial until they are dropped"),
        };
        let at = |took: &[Duration], percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        let ratio = at(&beside, 99).as_secs_f64() / at(&alone, 99).as_secs_f64();
        println!(
            "{what}: {commands} of {commands} served; alone p50 {:.1?} p99 {:.1?}, beside p50 {:.1?} p99 {:.1?}: {ratio:.2} x",
            at(&alone, 50),
            at(&alone, 99),
            at(&beside, 50),
            at(&beside, 99),
        );
        // The limit holds on an idle machine. The smaller run checks only that every command is served.
        assert!(
            ratio <= 5.0 || !is_full(),
            "{what}: p99 is {ratio:.2} times what it is alone"
        );
    }
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

const STRANGERS: [[u8; 4]; 4] = [[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 4], [127, 0, 0, 5]];

/// Dials of strangers per second.
fn rate() -> u64 {
    scaled("dials of strangers a second", 100, 500)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_client_is_served_beside_dials_of_strangers() {
    let testbed = Testbed::start(false).await;
    let rate = rate();
    let kinds = [
        Kind::Silent,
        Kind::Slow,
        Kind::Garbage,
        Kind::Unlisted,
        Kind::Listed,
        Kind::OwnKey,
    ];
    for kind in kinds {
        let strangers = testbed.strangers(&testbed.ticket, std::slice::from_ref(&kind), rate, &STRANGERS);
        testbed.compare(&format!("{kind:?}"), strangers).await;
    }
    let strangers = testbed.strangers(&testbed.ticket, &kinds, rate, &STRANGERS);
    testbed.compare("all kinds", strangers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_client_is_served_beside_unfinished_tls_handshakes() {
    let testbed = Testbed::start(true).await;
    let kinds = [Kind::TlsHello];
    let strangers = testbed.strangers(&testbed.ticket, &kinds, rate(), &STRANGERS);
    testbed.compare("TLS hellos", strangers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_client_is_served_beside_dials_of_its_own_address_to_a_mute_exec_server() {
    let testbed = Testbed::start(false).await;
    let (_mute, ticket) = RawServer::register(&format!("http://{}", testbed.relay)).await;
    let (kinds, own) = ([Kind::Listed], [[127, 0, 0, 1]]);
    let strangers = testbed.strangers(&ticket, &kinds, rate(), &own);
    testbed
        .compare("a mute exec-server behind one NAT", strangers)
        .await;
}
