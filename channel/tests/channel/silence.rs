//! Both ends detect a silent peer or relay in time. The tests use virtual time and an in-memory network that withholds
//! frames.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::limits::{OUTER_KEEP_ALIVE, OUTER_KEEP_ALIVE_TIMEOUT};
use baton_channel::{Channel, ChannelConfig, Network, Notice, Server, ServerConfig, SessionError};
use baton_mux::MuxError;
use baton_mux::limits::{IDLE_TIMEOUT, PING_INTERVAL};
use baton_relay::{Config, Relay};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tonic::Request;

use crate::support::in_memory::{ADDRESS, BUFFERED, Connections, InMemory};
use crate::support::service::{Caller, Mounted};
use crate::support::source;

/// Lengths of HTTP/2's connection preface (RFC 9113 section 3.4) and frame header, and the type of frames that carry
/// messages.
const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;

/// What a leg withholds. Initially it withholds nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Messages. All other HTTP/2 frames pass, also pings and their answers.
    Messages = 1,
    /// All bytes, as if the machine were gone.
    All = 2,
}

/// The network between one end and the relay. It can withhold frames.
#[derive(Clone)]
struct Leg {
    held: Arc<AtomicU8>,
    relay: Connections,
}

impl Leg {
    fn new(relay: &Connections) -> Self {
        Self {
            held: Arc::default(),
            relay: relay.clone(),
        }
    }

    fn hold(&self, held: Held) {
        self.held.store(held as u8, Ordering::Relaxed);
    }

    fn network(&self) -> Network {
        let leg = self.clone();
        Network::new(move |_| {
            let ((near, near_far), (far_near, far)) = (duplex(BUFFERED), duplex(BUFFERED));
            let (up_from, down_to) = split(near_far);
            let (down_from, up_to) = split(far_near);
            tokio::spawn(pass(up_from, up_to, PREFACE, Arc::clone(&leg.held)));
            tokio::spawn(pass(down_from, down_to, 0, Arc::clone(&leg.held)));
            let sent = leg.relay.send(far);
            async move {
                sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
                Ok(near)
            }
        })
    }
}

/// Forwards all frames except those that are withheld.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    preface: usize,
    held: Arc<AtomicU8>,
) -> io::Result<()> {
    let mut bytes = vec![0; preface];
    from.read_exact(&mut bytes).await?;
    to.write_all(&bytes).await?;
    loop {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).await?;
        let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; len as usize];
        from.read_exact(&mut payload).await?;
        let held = held.load(Ordering::Relaxed);
        if held == Held::All as u8 {
            std::future::pending::<()>().await;
        }
        if held == Held::Messages as u8 && header[3] == DATA {
            continue;
        }
        to.write_all(&header).await?;
        to.write_all(&payload).await?;
    }
}

/// A client with an open call, an exec-server, and the network legs of both.
struct TestSession {
    client: Leg,
    server: Leg,
    notices: mpsc::UnboundedReceiver<Notice>,
    call: tokio::task::JoinHandle<Result<tonic::Response<Bytes>, tonic::Status>>,
}

async fn open_test_session() -> TestSession {
    let (connections, accepted) = mpsc::unbounded_channel();
    let relay = Relay::with_listener(InMemory(accepted), ADDRESS.parse().unwrap(), Config::default());
    tokio::spawn(relay.serve(std::future::pending()));
    let (client, server) = (Leg::new(&connections), Leg::new(&connections));
    let seed = Seed::generate().unwrap();
    let key = seed.client_key().unwrap();
    let allow = AllowList::only(*key.public(), "test", Trust::Continue);
    let (notify, mut notices) = mpsc::unbounded_channel();
    let config = ServerConfig {
        network: Some(server.network()),
        ..ServerConfig::default()
    };
    let serving = Server::with_config(&format!("http://{ADDRESS}"), &seed, allow, config)
        .unwrap()
        .on_notice(move |notice| drop(notify.send(notice)));
    let config = ChannelConfig {
        network: Some(client.network()),
        ..ChannelConfig::default()
    };
    let channel = Channel::with_config(serving.ticket(), key, config);
    let hanging = Mounted::echo().on("/test/Hang", |_| std::future::pending());
    tokio::spawn(serving.serve(hanging, std::future::pending()));
    let registered = notices.recv().await;
    assert!(matches!(registered, Some(Notice::Registered)), "{registered:?}");
    let caller = Caller::new(channel);
    let call = tokio::spawn(async move { caller.unary("/test/Hang", Request::new(Bytes::new())).await });
    // A session without traffic stays open.
    sleep(10 * IDLE_TIMEOUT).await;
    assert!(!call.is_finished());
    TestSession {
        client,
        server,
        notices,
        call,
    }
}

fn is_silent(error: &SessionError) -> bool {
    matches!(error, SessionError::Mux(MuxError::Silent))
}

#[tokio::test(start_paused = true)]
async fn messages_that_a_relay_withholds_end_the_session_within_35_seconds() {
    for is_client in [true, false] {
        let mut session = open_test_session().await;
        let leg = if is_client {
            &session.client
        } else {
            &session.server
        };
        leg.hold(Held::Messages);
        let started = Instant::now();
        let lost = timeout(2 * IDLE_TIMEOUT, session.call)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        let took = started.elapsed();
        // The last message that arrives is the answer to the last ping.
        assert!(
            took <= IDLE_TIMEOUT && took >= IDLE_TIMEOUT - 2 * PING_INTERVAL,
            "{took:?}"
        );
        let is_ended = async {
            loop {
                if let Some(Notice::SessionEnded(_, error, _)) = session.notices.recv().await {
                    return error;
                }
            }
        };
        let by_server = timeout(2 * IDLE_TIMEOUT, is_ended).await.unwrap();
        let by_client = source::<SessionError>(&lost);
        assert!(
            is_silent(by_client) || is_silent(&by_server),
            "{by_client:?}, {by_server:?}"
        );
        assert!(started.elapsed() <= IDLE_TIMEOUT + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn both_ends_detect_a_lost_relay_within_15_seconds() {
    const MISSED: Duration = Duration::from_secs(15);
    assert!(OUTER_KEEP_ALIVE + OUTER_KEEP_ALIVE_TIMEOUT < MISSED);
    let mut session = open_test_session().await;
    while session.notices.try_recv().is_ok() {}
    session.client.hold(Held::All);
    session.server.hold(Held::All);
    let started = Instant::now();
    let lost = timeout(MISSED, session.call)
        .await
        .expect("missed in time")
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(source(&lost), SessionError::ConnectionLost(_)),
        "{lost:?}"
    );
    let (mut has_ended, mut is_redialled) = (false, false);
    while !(has_ended && is_redialled) {
        let left = MISSED.saturating_sub(started.elapsed());
        match timeout(left, session.notices.recv())
            .await
            .expect("missed in time")
        {
            Some(Notice::SessionEnded(_, SessionError::ConnectionLost(_), _)) => has_ended = true,
            Some(Notice::Retrying(..)) => is_redialled = true,
            _ => {}
        }
    }
}
