//! Calls over a session that rekeys, under a virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_mux::{Event, Received, Role, StreamId};
use baton_noise::key::StaticKey;
use baton_noise::{Control, Endpoint, Initiator, KeyLimit, RekeyError, RekeyPolicy, Responder};
use baton_proto::channel::Head;
use proptest::prelude::*;

use super::*;
use crate::allow::Grant;

/// A policy that rekeys without a pause.
fn every(messages: u64, bytes: u64, after_age: Duration) -> RekeyPolicy {
    RekeyPolicy {
        after: KeyLimit { messages, bytes },
        after_age,
        pace: Duration::ZERO,
        ..RekeyPolicy::default()
    }
}

fn standing(is_allowed: &AtomicBool) -> Standing {
    match is_allowed.load(Ordering::Relaxed) {
        true => Standing::Named(Grant::default()),
        false => Standing::Missing,
    }
}

fn never() -> RekeyPolicy {
    RekeyPolicy::default()
}

/// A client and an exec-server; sealed messages wait on the wire until the test delivers them.
struct Pair {
    client: Established,
    server: Established,
    to_client: VecDeque<Bytes>,
    to_server: VecDeque<Bytes>,
    is_allowed: Arc<AtomicBool>,
    now: Anchor,
}

impl Pair {
    fn new(client_policy: RekeyPolicy, server_policy: RekeyPolicy) -> Self {
        let client_key = Arc::new(StaticKey::generate().unwrap());
        let server_key = Arc::new(StaticKey::generate().unwrap());
        let (initiator, message1) = Initiator::start(&client_key, server_key.public(), b"p").unwrap();
        let responder = Responder::read(&server_key, b"p", &message1).unwrap();
        let (at_server, message2) = responder.finish(b"").unwrap();
        let (at_client, _) = initiator.finish(&message2).unwrap();
        let client_end = Endpoint::Client {
            key: Arc::clone(&client_key),
            exec_server: *server_key.public(),
        };
        let server_end = Endpoint::ExecServer {
            client: *client_key.public(),
            key: server_key,
        };
        let now = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let session =
            |transport, end, policy| Session::new(transport, end, b"p".to_vec(), policy, now.instant);
        let epoch = Epoch([0; 16]);
        let is_allowed = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_allowed);
        Self {
            client: Established::new(
                session(at_client, client_end, client_policy),
                Mux::new(Role::Client, now.instant),
                epoch,
                Box::new(|| Standing::Missing),
            ),
            server: Established::new(
                session(at_server, server_end, server_policy),
                Mux::new(Role::Server, now.instant),
                epoch,
                Box::new(move || standing(&asked)),
            ),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            is_allowed,
            now,
        }
    }

    fn end(&mut self, is_client: bool) -> &mut Established {
        if is_client {
            &mut self.client
        } else {
            &mut self.server
        }
    }

    /// Puts the next message of one end on the wire, and returns its plaintext.
    fn transmit(&mut self, is_client: bool) -> Option<Vec<u8>> {
        let now = self.now;
        let mut message = BytesMut::new();
        let end = self.end(is_client);
        if !end.wants_transmit() || !end.transmit(now, &mut message) {
            return None;
        }
        let plaintext = message.to_vec();
        end.seal(&mut message).unwrap();
        end.sealed(now.instant).unwrap();
        let wire = if is_client {
            &mut self.to_server
        } else {
            &mut self.to_client
        };
        wire.push_back(message.freeze());
        Some(plaintext)
    }

    /// Delivers the oldest message to one end. `None`: the wire is empty.
    fn deliver(&mut self, to_client: bool) -> Option<Result<(), SessionError>> {
        let wire = if to_client {
            &mut self.to_client
        } else {
            &mut self.to_server
        };
        let message = wire.pop_front()?;
        let now = self.now;
        let end = self.end(to_client);
        Some(
            end.open(&message)
                .and_then(|plaintext| end.handle(now, now.instant, RelayStamp::default(), plaintext)),
        )
    }

    fn step(&mut self) -> bool {
        let mut any = false;
        for is_client in [true, false] {
            any |= self.transmit(is_client).is_some();
            while let Some(delivered) = self.deliver(!is_client) {
                delivered.unwrap();
                any = true;
            }
        }
        any
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    fn advance(&mut self, by: Duration) {
        self.now.instant += by;
        self.now.unix_ns += by.as_nanos() as u64;
        let now = self.now.instant;
        for is_client in [true, false] {
            self.end(is_client).handle_timeout(now).unwrap();
        }
    }

    /// Opens a stream and answers it with a `Head`. Does not wait for silence, because the ends may rekey forever.
    fn exchange(&mut self) -> StreamId {
        let head = Head {
            path: "/a.B/C".into(),
            ..Head::default()
        };
        let id = self.client.mux.open(self.now.instant, &head, None).unwrap();
        while self.server.mux.take_head(id).is_none() {
            assert!(self.step());
        }
        self.server.mux.send_head(id, &Head::default()).unwrap();
        while self.client.mux.take_head(id).is_none() {
            assert!(self.step());
        }
        id
    }

    /// Seals and delivers a plaintext that no honest end would send.
    fn forge(&mut self, is_client: bool, plaintext: &[u8]) -> Result<(), SessionError> {
        let mut sealed = BytesMut::from(plaintext);
        self.end(is_client).seal(&mut sealed).unwrap();
        let wire = if is_client {
            &mut self.to_server
        } else {
            &mut self.to_client
        };
        wire.push_back(sealed.freeze());
        self.deliver(!is_client).unwrap()
    }
}

#[test]
fn a_key_exchange_message_is_sent_first_and_alone() {
    let mut pair = Pair::new(every(3, u64::MAX, Duration::MAX), never());
    let id = pair.exchange();
    while !pair.client.session.wants_control() {
        pair.client
            .mux
            .send_data(pair.now.instant, id, "x".into(), false)
            .unwrap();
        pair.transmit(true).unwrap();
    }
    pair.client
        .mux
        .send_data(pair.now.instant, id, "x".into(), false)
        .unwrap();
    let plaintext = pair.transmit(true).unwrap();
    let control = control::take(plaintext.into()).unwrap();
    assert!(matches!(control, Control::Start(_)), "{control:?}");
    // The data is sent without waiting for the answer.
    assert!(!control::is_control(&pair.transmit(true).unwrap()));
}

#[test]
fn a_client_that_was_removed_is_cut_at_the_next_rekey() {
    for (client, server) in [
        (never(), every(20, u64::MAX, Duration::MAX)),
        (every(20, u64::MAX, Duration::MAX), never()),
    ] {
        let mut pair = Pair::new(client, server);
        let id = pair.exchange();
        pair.is_allowed.store(false, Ordering::Relaxed);
        let mut messages = 0;
        let ended = loop {
            pair.client
                .mux
                .send_data(pair.now.instant, id, "x".into(), false)
                .unwrap();
            messages += 1;
            pair.transmit(true);
            if let Some(Err(error)) = pair.deliver(false) {
                break error;
            }
            pair.transmit(false);
            if let Some(delivered) = pair.deliver(true) {
                delivered.unwrap();
            }
            assert!(messages <= 25, "the session continues");
        };
        assert_eq!(ended, SessionError::Revoked);
        assert!(messages > 10, "not before");
        assert_eq!(pair.server.renewals(), 0);
    }
}

#[test]
fn malformed_and_unexpected_key_exchange_messages_end_the_session_with_their_own_errors() {
    use baton_mux::FrameError;
    let ping = [6, 0, 0, 0, 0, 0, 0, 0];
    let frame = |kind: u8, body: &[u8]| [&[kind, 0, 0, body.len() as u8, 0, 0, 0, 0], body].concat();
    let body = SessionError::Mux(MuxError::Frame(FrameError::Body("rekey")));
    let among = SessionError::Mux(MuxError::Protocol("a frame about keys among others"));
    let unverified = SessionError::Rekey(RekeyError::Handshake(baton_noise::HandshakeError::Verify));
    let unexpected = |error: &SessionError| matches!(error, SessionError::Rekey(RekeyError::Unexpected(_)));
    for from_client in [true, false] {
        let forged = |plaintext: &[u8]| {
            let mut pair = Pair::new(never(), never());
            pair.settle();
            pair.forge(from_client, plaintext).unwrap_err()
        };
        assert_eq!(forged(&[frame(9, b""), ping.to_vec()].concat()), body);
        assert_eq!(forged(&[frame(10, b"x"), frame(10, b"x")].concat()), body);
        assert_eq!(forged(&frame(9, b"x")), body);
        assert_eq!(forged(&[&ping[..], &frame(9, b"")].concat()), among);
        assert_eq!(forged(&[&ping[..], &frame(10, b"x")].concat()), among);
        assert_eq!(
            forged(&[10, 0, 0, 9, 0, 0, 0, 0]),
            SessionError::Mux(MuxError::Frame(FrameError::Truncated))
        );
        assert!(unexpected(&forged(&frame(9, b""))));
        assert!(unexpected(&forged(&[frame(10, b"x"), frame(9, b"")].concat())));
        if from_client {
            assert!(unexpected(&forged(&frame(10, b""))));
            for junk in [&b"x"[..], &[0; 96], &[0xff; 200]] {
                assert_eq!(forged(&frame(10, junk)), unverified);
            }
        } else {
            assert!(unexpected(&forged(&frame(10, b"x"))));
        }
    }
}

#[test]
fn an_hour_without_a_call_renews_the_keys() {
    let mut pair = Pair::new(never(), never());
    let mut elapsed = Duration::ZERO;
    while elapsed < 3 * baton_noise::limits::REKEY_AFTER + Duration::from_secs(60) {
        pair.advance(Duration::from_secs(10));
        elapsed += Duration::from_secs(10);
        pair.settle();
    }
    assert_eq!((pair.client.renewals(), pair.server.renewals()), (3, 3));
}

#[test]
fn a_rekey_without_an_answer_ends_a_session_that_is_not_silent() {
    let mut pair = Pair::new(every(u64::MAX, u64::MAX, Duration::from_secs(100)), never());
    let mut elapsed = Duration::ZERO;
    let error = loop {
        elapsed += Duration::from_secs(5);
        assert!(elapsed < Duration::from_secs(1000), "the session continues");
        pair.now.instant += Duration::from_secs(5);
        let now = pair.now.instant;
        if let Err(error) = pair.client.handle_timeout(now) {
            break error;
        }
        let Some(plaintext) = pair.transmit(true) else {
            continue;
        };
        if control::is_control(&plaintext) {
            // The server decrypts the message and does not handle it.
            let message = pair.to_server.pop_back().unwrap();
            pair.server.open(&message).unwrap();
        }
        while let Some(delivered) = pair.deliver(false) {
            delivered.unwrap();
        }
        while pair.transmit(false).is_some() {}
        while let Some(delivered) = pair.deliver(true) {
            delivered.unwrap();
        }
    };
    assert_eq!(error, SessionError::Rekey(RekeyError::Timeout));
    assert_eq!(elapsed, Duration::from_secs(100) + RekeyPolicy::default().timeout);
}

fn policies() -> impl Strategy<Value = RekeyPolicy> {
    let after_age = prop_oneof![Just(Duration::MAX), (20u64..200).prop_map(Duration::from_millis)];
    let messages = prop_oneof![Just(u64::MAX), 1u64..20];
    let bytes = prop_oneof![Just(u64::MAX), 1u64..200_000];
    (messages, bytes, after_age).prop_map(|(messages, bytes, age)| every(messages, bytes, age))
}

proptest! {
    /// Any plaintext that a peer with the keys seals, at any point of a rekey, causes at most an error.
    #[test]
    fn no_plaintext_of_a_peer_panics(
        client in policies(),
        server in policies(),
        steps in prop::collection::vec((0u8..6, any::<bool>(), prop::collection::vec(any::<u8>(), 0..120)), 1..60),
    ) {
        let mut pair = Pair::new(client, server);
        let id = pair.exchange();
        for (action, is_client, bytes) in steps {
            let body = Bytes::from(bytes);
            let mut forged = Vec::new();
            match action {
                0 => forged = body.to_vec(),
                1 => control::put(&Control::Start(body), &mut forged),
                2 => control::put(&Control::Answer(body), &mut forged),
                3 => control::put(if body.len() % 2 == 0 { &Control::Request } else { &Control::Switch }, &mut forged),
                _ => {
                    let now = pair.now.instant;
                    // Fails when a forged frame has ended the stream.
                    let _ = pair.end(is_client).mux.send_data(now, id, body, false);
                    pair.transmit(is_client);
                    if pair.deliver(!is_client).is_some_and(|delivered| delivered.is_err()) {
                        break;
                    }
                    continue;
                }
            }
            if pair.forge(is_client, &forged).is_err() {
                break;
            }
        }
    }

    /// Every byte of every stream arrives in order, for any limits of either end and any interleaving of messages and
    /// rekeys.
    #[test]
    fn random_rekeys_lose_nothing(
        client in policies(),
        server in policies(),
        steps in prop::collection::vec((0u8..10, 0usize..4, 1usize..40_000), 1..300),
    ) {
        let mut pair = Pair::new(client, server);
        let ids: Vec<_> = (0..4).map(|_| pair.exchange()).collect();
        let mut sent: BTreeMap<(bool, StreamId), Vec<u8>> = BTreeMap::new();
        let mut got: BTreeMap<(bool, StreamId), Vec<u8>> = BTreeMap::new();
        let mut counter = 0u32;
        for (action, which, size) in steps {
            let id = ids[which];
            let is_client = size % 2 == 0;
            match action {
                0 | 1 => {
                    let now = pair.now.instant;
                    let mux = &mut pair.end(is_client).mux;
                    if mux.has_room(id).unwrap() {
                        let data: Vec<u8> = std::iter::repeat_with(|| { counter = counter.wrapping_add(7919); counter as u8 })
                            .take(size)
                            .collect();
                        sent.entry((is_client, id)).or_default().extend_from_slice(&data);
                        mux.send_data(now, id, data.into(), false).unwrap();
                    }
                }
                2 => {
                    if let Received::Data(data) = pair.end(is_client).mux.receive(id) {
                        got.entry((!is_client, id)).or_default().extend_from_slice(&data);
                    }
                }
                3 => pair.advance(Duration::from_millis(size as u64 % 40)),
                4..7 => {
                    pair.transmit(is_client);
                }
                _ => {
                    if let Some(delivered) = pair.deliver(is_client) {
                        prop_assert_eq!(delivered, Ok(()));
                    }
                }
            }
        }
        while sent != got {
            let before = (pair.client.renewals(), got.values().map(Vec::len).sum::<usize>());
            let mut any = false;
            // With a limit of one message the ends rekey forever, so this does not wait for silence.
            for _ in 0..20 {
                any |= pair.step();
                for is_client in [true, false] {
                    while let Some(event) = pair.end(is_client).mux.poll_event() {
                        let is_about_data = matches!(
                            event,
                            Event::Readable(_) | Event::Writable(_) | Event::Opened(_) | Event::Consumed(..)
                        );
                        prop_assert!(is_about_data, "{:?}", event);
                    }
                    for id in &ids {
                        while let Received::Data(data) = pair.end(is_client).mux.receive(*id) {
                            got.entry((!is_client, *id)).or_default().extend_from_slice(&data);
                        }
                    }
                }
            }
            let after = (pair.client.renewals(), got.values().map(Vec::len).sum::<usize>());
            prop_assert!(any && before != after || sent == got, "no progress");
        }
        prop_assert!(pair.client.renewals().abs_diff(pair.server.renewals()) <= 1);
    }
}
