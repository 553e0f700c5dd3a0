//! Pings and the end of a registration, in virtual time.

use std::convert::Infallible;

use baton_proto::registration::exec_server_id;
use baton_proto::relay::Pong;
use bytes::Bytes;
use http_body_util::StreamBody;
use prost::Message as _;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codec::Codec as _;

use super::fuzz::{AUTHORITY, key, proof};
use super::*;
use crate::Config;
use crate::limits::PING_INTERVAL;
use crate::memory_budget::MemoryBudget;

/// An exec-server on one `Register` stream, without a network.
struct Peer {
    relay: Arc<RelayState>,
    requests: mpsc::UnboundedSender<Bytes>,
    responses: mpsc::Receiver<Result<RegisterResponse, Status>>,
    exchange: JoinHandle<()>,
}

impl Peer {
    fn connect(relay: &Arc<RelayState>) -> Self {
        use aws_lc_rs::signature::KeyPair as _;
        let address = AUTHORITY.parse().unwrap();
        let (outbound, responses) = mpsc::channel(REGISTER_QUEUE);
        let exchange = RegisterExchange {
            relay: relay.clone(),
            connection: Arc::new(Connection::new(address, address, 1, MemoryBudget::new(0))),
            named: exec_server_id(key().public_key().as_ref()),
            authority: AUTHORITY.to_owned(),
            outbound,
        };
        let (requests, body) = mpsc::unbounded_channel();
        let body = UnboundedReceiverStream::new(body);
        let body = StreamBody::new(body.map(|bytes| Ok::<_, Infallible>(http_body::Frame::data(bytes))));
        let decoder = tonic_prost::ProstCodec::<RegisterResponse, RegisterRequest>::default().decoder();
        let inbound = Streaming::new_request(decoder, body, None, Some(REGISTER_MESSAGE_BYTES));
        Self {
            relay: relay.clone(),
            requests,
            responses,
            exchange: tokio::spawn(exchange.run(inbound)),
        }
    }

    /// A registered exec-server of a new relay, and the pings that the relay has announced to it.
    async fn registered() -> (Self, Duration) {
        let mut peer = Self::connect(&Arc::new(RelayState::new(Config::default())));
        let interval = peer.register().await.expect("registered");
        (peer, interval)
    }

    async fn register(&mut self) -> Result<Duration, Status> {
        let register_response::Kind::Challenge(Challenge { nonce }) = self.next().await? else {
            panic!("no Challenge");
        };
        self.send(register_request::Kind::Proof(proof(&nonce, AUTHORITY)));
        let register_response::Kind::Registered(registered) = self.next().await? else {
            panic!("no Registered");
        };
        Ok(Duration::from_millis(registered.ping_interval_ms.into()))
    }

    fn send(&self, kind: register_request::Kind) {
        let message = RegisterRequest { kind: Some(kind) }.encode_to_vec();
        let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        self.requests.send(framed.into()).expect("an open stream");
    }

    async fn next(&mut self) -> Result<register_response::Kind, Status> {
        let message = self.responses.recv().await.expect("a message or the end")?;
        Ok(message.kind.expect("a kind"))
    }

    /// The nonce of the next ping.
    async fn ping(&mut self) -> u64 {
        match self.next().await {
            Ok(register_response::Kind::Ping(Ping { nonce })) => nonce,
            other => panic!("{other:?} instead of a Ping"),
        }
    }

    fn pong(&self, nonce: u64) {
        self.send(register_request::Kind::Pong(Pong { nonce }));
    }

    /// Waits for the end; the registration has ended with it.
    async fn end(mut self) -> Status {
        let status = self.next().await.expect_err("the end");
        self.exchange.await.expect("no panic");
        assert_eq!(self.relay.metrics.snapshot().registrations, 0);
        status
    }
}

#[tokio::test(start_paused = true)]
async fn an_exec_server_is_pinged_every_30_seconds_and_stays_registered_while_it_answers() {
    let (mut peer, announced) = Peer::registered().await;
    assert_eq!(announced, PING_INTERVAL);
    let registered = Instant::now();
    let nonce = peer.ping().await;
    let first = Instant::now();
    assert!(first - registered <= PING_INTERVAL);
    peer.pong(nonce);
    for number in 1..100 {
        let nonce = peer.ping().await;
        assert_eq!(first.elapsed(), PING_INTERVAL * number);
        // The last moment at which an answer counts.
        sleep_until(Instant::now() + PING_INTERVAL - Duration::from_millis(1)).await;
        peer.pong(nonce);
    }
    let counters = peer.relay.metrics.snapshot();
    assert_eq!(
        (counters.registrations, counters.registrations_unanswered),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_exec_server_that_answers_no_ping_until_the_next_one_is_due_loses_its_registration() {
    let (mut peer, _) = Peer::registered().await;
    let relay = peer.relay.clone();
    peer.ping().await;
    let pinged = Instant::now();
    // The answer to another ping does not count.
    peer.pong(u64::MAX);
    let status = peer.end().await;
    assert_eq!(pinged.elapsed(), PING_INTERVAL);
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.message(),
        "no ping of the relay was answered for 30s; register again"
    );
    let counters = relay.metrics.snapshot();
    assert_eq!(counters.registrations_unanswered, 1);
    assert_eq!(counters.refused(RefusalReason::Silent), 1);
    let mut again = Peer::connect(&relay);
    again.register().await.expect("registered again");
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_an_exec_server_that_reads_late() {
    let (mut peer, _) = Peer::registered().await;
    let id = exec_server_id(aws_lc_rs::signature::KeyPair::public_key(&key()).as_ref());
    let registration = peer.relay.registry.registration(id).unwrap();
    let incoming = || register_response::Kind::Incoming(baton_proto::relay::Incoming::default());
    while registration.send(incoming()).is_ok() {}
    // The first ping is due in a full queue.
    sleep_until(Instant::now() + PING_INTERVAL).await;
    for _ in 0..REGISTER_QUEUE {
        assert!(matches!(
            peer.next().await,
            Ok(register_response::Kind::Incoming(_))
        ));
    }
    let nonce = peer.ping().await;
    peer.pong(nonce);
    peer.ping().await;
    assert_eq!(peer.relay.metrics.snapshot().registrations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_by_a_second_registration_is_no_regular_ping_and_both_are_answered() {
    let (mut first, _) = Peer::registered().await;
    let regular = first.ping().await;
    let mut second = Peer::connect(&first.relay);
    let refused = tokio::spawn(async move { second.register().await });
    let probe = first.ping().await;
    assert_ne!(probe, regular);
    first.pong(probe);
    let refused = refused.await.unwrap().expect_err("the key is taken");
    assert_eq!(refused.code(), Code::AlreadyExists);
    first.pong(regular);
    first.ping().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_registration_and_refuses_one_that_proves_its_key_later() {
    let (peer, _) = Peer::registered().await;
    let relay = peer.relay.clone();
    let mut late = Peer::connect(&relay);
    let register_response::Kind::Challenge(Challenge { nonce }) = late.next().await.unwrap() else {
        panic!("no Challenge");
    };
    relay.drain();
    late.send(register_request::Kind::Proof(proof(&nonce, AUTHORITY)));
    for peer in [peer, late] {
        let status = peer.end().await;
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "the relay is shutting down; reconnect");
        let hint = status.metadata().get(header::RETRY_PUSHBACK).unwrap();
        assert_eq!(hint.to_str().unwrap(), RETRY_MOVED.as_millis().to_string());
    }
}
