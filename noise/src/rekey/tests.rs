//! Two sessions under a virtual clock, and peers that break the protocol.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::handshake::{MESSAGE_1_LEN, MESSAGE_2_LEN, start_with_invalid_kem_key};
use crate::policy::KeyLimit;
use crate::resolver::ephemeral;

const NEVER: Duration = Duration::from_secs(1_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// A policy under which no rekey is due.
fn lasting() -> RekeyPolicy {
    RekeyPolicy {
        after_age: NEVER,
        pace: Duration::ZERO,
        ..RekeyPolicy::default()
    }
}

/// A policy under which a rekey is due after this many messages.
fn every(messages: u64) -> RekeyPolicy {
    let bytes = u64::MAX;
    RekeyPolicy {
        after: KeyLimit { messages, bytes },
        ..lasting()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}
use Side::{Client, Server};

/// Why a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Transport(TransportError),
    Rekey(RekeyError),
}

/// A sealed message, and the rekey message in it, if there is one.
#[derive(Clone)]
struct Message {
    sealed: BytesMut,
    control: Option<Control>,
}

/// A client and an exec-server; messages are queued until the test delivers them.
struct Pair {
    client: Session,
    server: Session,
    to_client: VecDeque<Message>,
    to_server: VecDeque<Message>,
    now: Instant,
    is_allowed: bool,
}

impl Pair {
    fn new(client: RekeyPolicy, server: RekeyPolicy) -> Self {
        let keys = [StaticKey::generate().unwrap(), StaticKey::generate().unwrap()].map(Arc::new);
        Self::with_keys(&keys, b"prologue", client, server)
    }

    fn with_keys(
        [client_key, server_key]: &[Arc<StaticKey>; 2],
        prologue: &[u8],
        client: RekeyPolicy,
        server: RekeyPolicy,
    ) -> Self {
        let (initiator, message1) = Initiator::start(client_key, server_key.public(), prologue).unwrap();
        let responder = Responder::read(server_key, prologue, &message1).unwrap();
        let (at_server, message2) = responder.finish(b"hello").unwrap();
        let (at_client, _) = initiator.finish(&message2).unwrap();
        let client_end = Endpoint::Client {
            key: Arc::clone(client_key),
            exec_server: *server_key.public(),
        };
        let server_end = Endpoint::ExecServer {
            key: Arc::clone(server_key),
            client: *client_key.public(),
        };
        let now = Instant::now();
        Self {
            client: Session::new(at_client, client_end, prologue.to_vec(), client, now),
            server: Session::new(at_server, server_end, prologue.to_vec(), server, now),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            now,
            is_allowed: true,
        }
    }

    fn session(&mut self, side: Side) -> &mut Session {
        match side {
            Client => &mut self.client,
            Server => &mut self.server,
        }
    }

    fn wire_from(&mut self, side: Side) -> &mut VecDeque<Message> {
        match side {
            Client => &mut self.to_server,
            Server => &mut self.to_client,
        }
    }

    /// Sends the rekey message of this side, if there is one, and returns it.
    fn send_control(&mut self, side: Side) -> Option<Control> {
        let now = self.now;
        let session = self.session(side);
        let control = session.control();
        assert_eq!(control.is_some(), session.wants_control());
        let control = control?;
        let mut sealed = BytesMut::new();
        session.seal(&mut sealed).unwrap();
        session.control_sealed(now);
        session.poll(now).unwrap();
        let message = Message {
            sealed,
            control: Some(control.clone()),
        };
        self.wire_from(side).push_back(message);
        Some(control)
    }

    /// Sends data of this side.
    fn send(&mut self, side: Side, data: &[u8]) -> Result<(), Failure> {
        let now = self.now;
        let session = self.session(side);
        let mut sealed = BytesMut::from(data);
        session.seal(&mut sealed).map_err(Failure::Transport)?;
        session.poll(now).map_err(Failure::Rekey)?;
        let control = None;
        self.wire_from(side).push_back(Message { sealed, control });
        Ok(())
    }

    /// Delivers a message to this side. Returns its data.
    fn receive(&mut self, side: Side, message: Message) -> Result<BytesMut, Failure> {
        let (now, is_allowed) = (self.now, self.is_allowed);
        let session = self.session(side);
        let data = session.open(&message.sealed).map_err(Failure::Transport)?;
        if let Some(control) = message.control {
            let answer = session.handle_control(now, control).map_err(Failure::Rekey)?;
            if let Some(answer) = answer
                && is_allowed
            {
                session.answer(now, answer).map_err(Failure::Rekey)?;
            }
        }
        session.poll(now).map_err(Failure::Rekey)?;
        Ok(data)
    }

    /// Delivers the next message that this side sent.
    fn deliver_next_from(&mut self, side: Side) -> Result<BytesMut, Failure> {
        let message = self
            .wire_from(side)
            .pop_front()
            .expect("something is on the wire");
        self.receive(if side == Client { Server } else { Client }, message)
    }

    /// Delivers messages until neither side has a rekey message to send.
    fn settle(&mut self) {
        loop {
            while self.send_control(Client).is_some() || self.send_control(Server).is_some() {}
            let Some(side) = [Client, Server]
                .into_iter()
                .find(|side| !self.wire_from(*side).is_empty())
            else {
                return;
            };
            self.deliver_next_from(side).unwrap();
        }
    }

    /// Delivers one message in each direction, and the rekey messages that follow.
    fn exchange(&mut self) {
        for side in [Client, Server] {
            self.send(side, b"data").unwrap();
            assert_eq!(self.deliver_next_from(side).unwrap(), "data");
        }
        self.settle();
    }

    fn renewals(&self) -> (u64, u64) {
        (self.client.renewals(), self.server.renewals())
    }

    /// Makes only this side begin a rekey.
    fn begin(&mut self, side: Side) {
        let now = self.now;
        let session = self.session(side);
        let policy = std::mem::replace(&mut session.policy, every(0));
        session.poll(now).unwrap();
        session.policy = policy;
    }

    /// Passes a rekey message to one side directly, as if it were correctly sealed.
    fn handle_control_at(&mut self, side: Side, control: Control) -> Result<(), RekeyError> {
        let now = self.now;
        self.session(side).handle_control(now, control).map(drop)
    }
}

#[test]
fn a_key_is_renewed_after_a_number_of_messages_in_either_direction() {
    for (client, server) in [(every(5), lasting()), (lasting(), every(5)), (every(5), every(5))] {
        for talker in [Client, Server] {
            let mut pair = Pair::new(client, server);
            for message in 1..=5 {
                assert_eq!(pair.renewals(), (0, 0), "before message {message}");
                pair.send(talker, b"x").unwrap();
                pair.deliver_next_from(talker).unwrap();
                pair.settle();
            }
            assert_eq!(pair.renewals(), (1, 1));
        }
    }
}

#[test]
fn a_key_is_renewed_after_a_number_of_bytes() {
    let mut policy = lasting();
    policy.after.bytes = 1000;
    let mut pair = Pair::new(policy, lasting());
    pair.send(Server, &[0; 999]).unwrap();
    pair.deliver_next_from(Server).unwrap();
    pair.settle();
    assert_eq!(pair.renewals(), (0, 0));
    pair.send(Server, &[0; 1]).unwrap();
    pair.deliver_next_from(Server).unwrap();
    pair.settle();
    assert_eq!(pair.renewals(), (1, 1));
}

#[test]
fn a_key_is_renewed_at_its_maximum_age_even_if_nothing_was_sent() {
    for side in [Client, Server] {
        let mut pair = Pair::new(lasting(), lasting());
        pair.session(side).policy.after_age = HOUR;
        for renewals in 1..=3 {
            let due = pair.session(side).next_timeout().unwrap();
            assert_eq!(due, pair.now + HOUR);
            pair.now = due - Duration::from_nanos(1);
            let now = pair.now;
            pair.session(side).handle_timeout(now).unwrap();
            assert!(!pair.session(side).wants_control());
            pair.now = due;
            pair.session(side).handle_timeout(due).unwrap();
            pair.settle();
            assert_eq!(pair.renewals(), (renewals, renewals));
        }
    }
}

#[test]
fn both_sides_may_begin_a_rekey_at_the_same_time() {
    let mut pair = Pair::new(every(3), every(3));
    for round in 1..=10 {
        while !(pair.client.wants_control() && pair.server.wants_control()) {
            pair.send(Client, b"data").unwrap();
            pair.deliver_next_from(Client).unwrap();
        }
        // Both begin before either receives the other's message.
        assert_eq!(pair.send_control(Server), Some(Control::Request));
        assert!(matches!(pair.send_control(Client), Some(Control::Start(_))));
        pair.settle();
        assert_eq!(pair.renewals(), (round, round));
        assert!(pair.client.control().is_none() && pair.server.control().is_none());
    }
}

#[test]
fn an_unsent_request_is_dropped_when_a_start_arrives() {
    let mut pair = Pair::new(lasting(), lasting());
    pair.begin(Client);
    pair.begin(Server);
    pair.send_control(Client);
    pair.deliver_next_from(Client).unwrap();
    assert!(matches!(pair.send_control(Server), Some(Control::Answer(_))));
    pair.settle();
    assert_eq!(pair.renewals(), (1, 1));
}

#[test]
fn data_flows_in_both_directions_at_every_step_of_a_rekey() {
    let mut pair = Pair::new(lasting(), lasting());
    let mut number = 0u32;
    for beginner in [Client, Server, Client] {
        pair.begin(beginner);
        let mut sent = [Vec::new(), Vec::new()];
        let mut received = [Vec::new(), Vec::new()];
        // Data before and after every rekey message, all in flight at once.
        for step in 0..12 {
            for side in [Client, Server] {
                for _ in 0..2 {
                    number += 1;
                    sent[side as usize].push(number);
                    pair.send(side, &number.to_be_bytes()).unwrap();
                }
                pair.send_control(side);
            }
            for side in [Client, Server] {
                let keep = if step == 11 { 0 } else { 3 };
                while pair.wire_from(side).len() > keep {
                    let data = pair.deliver_next_from(side).unwrap();
                    if !data.is_empty() {
                        received[side as usize].push(u32::from_be_bytes(data[..].try_into().unwrap()));
                    }
                }
            }
        }
        assert_eq!(sent, received);
    }
    assert_eq!(pair.renewals(), (3, 3));
}

#[test]
fn a_message_sealed_before_a_rekey_does_not_open_after_it() {
    let mut pair = Pair::new(lasting(), lasting());
    pair.send(Client, b"first under its key").unwrap();
    let old = pair.to_server[0].clone();
    pair.deliver_next_from(Client).unwrap();
    pair.begin(Client);
    pair.settle();
    // Its nonce is the expected one again, but its key is not.
    assert_eq!(
        pair.receive(Server, old),
        Err(Failure::Transport(TransportError::Decrypt))
    );
}

#[test]
fn a_client_that_is_no_longer_allowed_gets_no_answer() {
    let mut pair = Pair::new(lasting(), lasting());
    pair.is_allowed = false;
    pair.begin(Client);
    pair.send_control(Client);
    pair.deliver_next_from(Client).unwrap();
    assert_eq!(pair.server.control(), None);
    assert_eq!(pair.renewals(), (0, 0));
}

#[test]
fn a_peer_that_does_not_answer_a_rekey_times_out() {
    let timeout = lasting().timeout;
    // The steps before the peer stops: none, or all up to the client's Switch.
    for (beginner, steps, waiting) in [
        (Client, 0, Client),
        (Server, 0, Server),
        (Client, 1, Server),
        (Client, 1, Client),
    ] {
        let mut pair = Pair::new(lasting(), lasting());
        pair.begin(beginner);
        for _ in 0..steps {
            pair.send_control(Client);
            pair.deliver_next_from(Client).unwrap();
            pair.send_control(Server);
        }
        let deadline = pair.now + timeout;
        let session = pair.session(waiting);
        assert_eq!(session.next_timeout(), Some(deadline));
        assert_eq!(session.handle_timeout(deadline - Duration::from_nanos(1)), Ok(()));
        assert_eq!(session.handle_timeout(deadline), Err(RekeyError::Timeout));
    }
}

#[test]
fn a_rekey_without_a_timeout_has_no_deadline() {
    let patient = RekeyPolicy {
        timeout: Duration::MAX,
        after_age: HOUR,
        ..lasting()
    };
    let mut pair = Pair::new(patient, patient);
    pair.now += HOUR;
    let now = pair.now;
    for side in [Client, Server] {
        pair.session(side).handle_timeout(now).unwrap();
        // A deadline in the past would make the caller loop until the peer answers.
        assert_eq!(pair.session(side).next_timeout(), None);
    }
}

#[test]
fn a_completed_rekey_leaves_no_deadline() {
    let mut pair = Pair::new(lasting(), lasting());
    pair.begin(Client);
    pair.settle();
    for side in [Client, Server] {
        let much_later = pair.now + 10 * lasting().timeout;
        assert_eq!(pair.session(side).handle_timeout(much_later), Ok(()));
    }
}

#[test]
fn a_direction_ends_at_its_limit_if_the_peer_never_answers() {
    for side in [Client, Server] {
        let mut policy = every(10);
        policy.end = KeyLimit {
            messages: 25,
            bytes: 2000,
        };
        let mut pair = Pair::new(policy, policy);
        for _ in 0..10 {
            pair.send(side, b"x").unwrap();
        }
        assert!(pair.send_control(side).is_some());
        for _ in 11..25 {
            pair.send(side, b"x").unwrap();
        }
        let exhausted = Err(Failure::Transport(TransportError::Exhausted));
        assert_eq!(pair.send(side, b"x"), exhausted);
        assert_eq!(pair.wire_from(side).len(), 25);
        // The receiver enforces the same limit.
        let other = if side == Client { Server } else { Client };
        for _ in 0..25 {
            let mut message = pair.wire_from(side).pop_front().unwrap();
            message.control = None;
            pair.receive(other, message).unwrap();
        }
        let one_more = Message {
            sealed: BytesMut::zeroed(17),
            control: None,
        };
        assert_eq!(pair.receive(other, one_more), exhausted.map(|()| BytesMut::new()));

        let mut pair = Pair::new(policy, policy);
        pair.send(side, &[0; 2000]).unwrap();
        assert_eq!(pair.send(side, &[0]), exhausted_error());
        // An empty message has no bytes, so it is within the limit.
        pair.send(side, &[]).unwrap();
    }
}

fn exhausted_error() -> Result<(), Failure> {
    Err(Failure::Transport(TransportError::Exhausted))
}

#[test]
fn a_new_key_has_its_limit_before_it() {
    let mut policy = every(10);
    policy.end = KeyLimit {
        messages: 40,
        bytes: u64::MAX,
    };
    let mut pair = Pair::new(policy, policy);
    for _ in 0..1000 {
        pair.exchange();
    }
    let (client, server) = pair.renewals();
    assert!(client == server && client >= 100, "{client}, {server}");
}

/// The peer has the keys of the session.
#[test]
fn a_rekey_message_out_of_order_ends_the_session() {
    let junk = Bytes::from_static(b"junk");
    let controls = [
        Control::Request,
        Control::Start(junk.clone()),
        Control::Answer(junk.clone()),
        Control::Switch,
    ];
    // The phase of a side, and the rekey messages that its peer may send in it.
    type Prepare = fn(&mut Pair);
    let cases: [(&str, Side, Prepare, &[usize]); 9] = [
        ("client, no rekey", Client, |_| {}, &[0]),
        (
            "client, Start to be sent",
            Client,
            |pair| pair.begin(Client),
            &[0],
        ),
        (
            "client, Start sent",
            Client,
            |pair| {
                pair.begin(Client);
                pair.send_control(Client);
            },
            &[0, 2],
        ),
        (
            "client, Start sent and asked for",
            Client,
            |pair| {
                pair.begin(Client);
                pair.send_control(Client);
                pair.handle_control_at(Client, Control::Request).unwrap();
            },
            &[2],
        ),
        (
            "client, Switch to be sent",
            Client,
            |pair| {
                pair.begin(Client);
                pair.send_control(Client);
                pair.deliver_next_from(Client).unwrap();
                pair.send_control(Server);
                pair.deliver_next_from(Server).unwrap();
            },
            &[],
        ),
        ("exec-server, no rekey", Server, |_| {}, &[1]),
        (
            "exec-server, Request sent",
            Server,
            |pair| {
                pair.begin(Server);
                pair.send_control(Server);
            },
            &[1],
        ),
        (
            "exec-server, Answer to be sent",
            Server,
            |pair| {
                pair.begin(Client);
                pair.send_control(Client);
                pair.deliver_next_from(Client).unwrap();
            },
            &[],
        ),
        (
            "exec-server, Answer sent",
            Server,
            |pair| {
                pair.begin(Client);
                pair.send_control(Client);
                pair.deliver_next_from(Client).unwrap();
                pair.send_control(Server);
            },
            &[3],
        ),
    ];
    for (phase, side, prepare, allowed) in cases {
        for (number, control) in controls.iter().enumerate() {
            let mut pair = Pair::new(lasting(), lasting());
            prepare(&mut pair);
            let result = pair.handle_control_at(side, control.clone());
            if allowed.contains(&number) {
                // The message is allowed, although junk does not verify.
                assert!(
                    matches!(
                        result,
                        Ok(()) | Err(RekeyError::Handshake(HandshakeError::Verify))
                    ),
                    "{phase}: {control:?}: {result:?}"
                );
            } else {
                assert!(
                    matches!(result, Err(RekeyError::Unexpected(_))),
                    "{phase}: {control:?}: {result:?}"
                );
            }
        }
    }
}

#[test]
fn any_flipped_bit_of_a_rekey_fails_it() {
    let flipped = |message: &Bytes, byte: usize| {
        let mut altered = message.to_vec();
        altered[byte] ^= 1;
        Bytes::from(altered)
    };
    let failed = Err(RekeyError::Handshake(HandshakeError::Verify));
    for byte in 0..MESSAGE_1_LEN {
        let mut pair = Pair::new(lasting(), lasting());
        pair.begin(Client);
        let Some(Control::Start(start)) = pair.send_control(Client) else {
            panic!("a client starts")
        };
        assert_eq!(start.len(), MESSAGE_1_LEN);
        let altered = Control::Start(flipped(&start, byte));
        assert_eq!(
            pair.handle_control_at(Server, altered),
            failed,
            "byte {byte} of message 1"
        );
    }
    for byte in 0..MESSAGE_2_LEN {
        let mut pair = Pair::new(lasting(), lasting());
        pair.begin(Client);
        pair.send_control(Client);
        pair.deliver_next_from(Client).unwrap();
        let Some(Control::Answer(answer)) = pair.send_control(Server) else {
            panic!("an exec-server answers")
        };
        assert_eq!(answer.len(), MESSAGE_2_LEN);
        let altered = Control::Answer(flipped(&answer, byte));
        assert_eq!(
            pair.handle_control_at(Client, altered),
            failed,
            "byte {byte} of message 2"
        );
    }
}

/// Even a peer that has the session's keys cannot replay a rekey message, because each rekey has its own prologue.
#[test]
fn a_rekey_message_of_another_rekey_or_session_does_not_verify() {
    let keys = [StaticKey::generate().unwrap(), StaticKey::generate().unwrap()].map(Arc::new);
    let pair = |prologue: &[u8]| Pair::with_keys(&keys, prologue, lasting(), lasting());
    let failed = Err(RekeyError::Handshake(HandshakeError::Verify));
    let start = |pair: &mut Pair| {
        pair.begin(Client);
        match pair.send_control(Client) {
            Some(start @ Control::Start(_)) => start,
            other => panic!("{other:?}"),
        }
    };

    // The same session, one rekey later.
    let mut session = pair(b"session 1");
    let first = start(&mut session);
    session.settle();
    assert_eq!(session.handle_control_at(Server, first), failed);

    // Another session of the same two keys, even one with the same id.
    for prologue in [&b"session 1"[..], b"session 2"] {
        let of_other = start(&mut pair(prologue));
        assert_eq!(pair(b"session 1").handle_control_at(Server, of_other), failed);
    }

    // Message 1 of the session's own handshake.
    let (_, message1) = Initiator::start(&keys[0], keys[1].public(), b"session 1").unwrap();
    assert_eq!(
        pair(b"session 1").handle_control_at(Server, Control::Start(message1)),
        failed
    );

    // An answer to another Start.
    let mut one = pair(b"session 1");
    start(&mut one);
    let mut other = pair(b"session 1");
    start(&mut other);
    other.deliver_next_from(Client).unwrap();
    let Some(answer) = other.send_control(Server) else {
        panic!("an exec-server answers")
    };
    assert_eq!(one.handle_control_at(Client, answer), failed);
}

#[test]
fn a_rekey_with_another_client_key_is_refused() {
    let mut pair = Pair::new(lasting(), lasting());
    let Endpoint::Client { key, .. } = &mut pair.client.end else {
        panic!("this is the client")
    };
    // The key of another client, whether it is allowed or not.
    *key = Arc::new(StaticKey::generate().unwrap());
    pair.begin(Client);
    pair.send_control(Client);
    assert_eq!(
        pair.deliver_next_from(Client),
        Err(Failure::Rekey(RekeyError::OtherKey))
    );
}

#[test]
fn a_rekey_with_an_invalid_kem_key_is_the_fault_of_the_client() {
    let keys = [StaticKey::generate().unwrap(), StaticKey::generate().unwrap()].map(Arc::new);
    let mut pair = Pair::with_keys(&keys, b"prologue", lasting(), lasting());
    let prologue = pair.client.next_prologue();
    let start = Control::Start(start_with_invalid_kem_key(&keys[0], keys[1].public(), &prologue));
    let answer = pair.server.handle_control(pair.now, start).unwrap().unwrap();
    let failed = RekeyError::Handshake(HandshakeError::KemKey);
    assert_eq!(pair.server.answer(pair.now, answer), Err(failed));
}

/// An end without randomness ends its session, and blames nobody for it.
#[test]
fn a_rekey_without_randomness_is_not_the_fault_of_the_peer() {
    let now = Instant::now();
    let mut pair = Pair::new(lasting(), lasting());
    ephemeral::fail();
    assert_eq!(pair.client.begin(now, false), Err(RekeyError::Local));
    assert!(!pair.client.wants_control(), "nothing is sent");
    ephemeral::fail();
    let requested = pair.client.handle_control(now, Control::Request);
    assert_eq!(requested.err(), Some(RekeyError::Local));

    pair.begin(Client);
    let Some(start) = pair.client.control() else {
        panic!("a client starts")
    };
    ephemeral::fail();
    let read = pair.server.handle_control(now, start.clone());
    assert_eq!(read.err(), Some(RekeyError::Local));
    let answer = pair.server.handle_control(now, start).unwrap().unwrap();
    ephemeral::fail();
    assert_eq!(pair.server.answer(now, answer), Err(RekeyError::Local));
    assert!(!pair.server.wants_control(), "nothing is sent");
    assert!(ephemeral::all_drawn());
}

#[test]
fn an_answer_that_carries_a_payload_is_refused() {
    let mut pair = Pair::new(lasting(), lasting());
    pair.begin(Client);
    let Some(Control::Start(start)) = pair.send_control(Client) else {
        panic!("a client starts")
    };
    let Answer(responder) = pair
        .server
        .handle_control(pair.now, Control::Start(start))
        .unwrap()
        .unwrap();
    let (_, message) = responder.finish_keys(b"more").unwrap();
    assert!(matches!(
        pair.handle_control_at(Client, Control::Answer(message)),
        Err(RekeyError::Unexpected(_))
    ));
}

#[test]
fn a_peer_that_causes_too_many_rekeys_ends_the_session() {
    let slow = RekeyPolicy {
        pace: Duration::from_secs(1),
        ..lasting()
    };
    for beginner in [Client, Server] {
        let mut pair = Pair::new(slow, slow);
        let limit = baton_proto::limits::REKEY_BURST;
        for _ in 0..limit {
            pair.begin(beginner);
            pair.settle();
        }
        pair.begin(beginner);
        pair.send_control(beginner);
        assert_eq!(
            pair.deliver_next_from(beginner),
            Err(Failure::Rekey(RekeyError::TooOften))
        );

        let mut pair = Pair::new(slow, slow);
        for _ in 0..3 * limit {
            pair.now += slow.pace;
            pair.begin(beginner);
            pair.settle();
        }
    }
}
