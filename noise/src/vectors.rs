//! `docs/vectors/handshake.json`, `transport.json` and `rekey.json`: sessions whose randomness is fixed.

use std::sync::Arc;
use std::time::Instant;

use baton_proto::channel::ServerHello;
use baton_proto::{ExecServerId, SessionId};
use baton_vectors::{Case, Json, Vector, check, hex, list, object};
use bytes::{Bytes, BytesMut};
use prost::Message;
use snow::resolvers::BoxedCryptoResolver;

use crate::handshake::MESSAGE_1_LEN;
use crate::key::{Seed, StaticKey};
use crate::policy::{KeyLimit, RekeyPolicy};
use crate::resolver::hostile::HostileResolver;
use crate::resolver::kem::KemRandomness;
use crate::resolver::{Resolver, ephemeral};
use crate::transport::{Transport, TransportError};
use crate::{Control, Endpoint, HandshakeError, Initiator, Responder, Session, prologue};

/// The randomness of one handshake.
#[derive(Clone, Copy)]
struct Randomness {
    /// Ephemeral X25519 keys of client and exec-server.
    ephemerals: [[u8; 32]; 2],
    /// `d` and `z` of the client's ML-KEM key.
    kem_seed: [u8; 64],
    /// `m` of the exec-server's encapsulation.
    kem_message: [u8; 32],
}

impl Randomness {
    /// The JSON members, in the order of the fields.
    const SESSION: [&str; 4] = [
        "client_ephemeral",
        "exec_server_ephemeral",
        "client_kem_seed",
        "exec_server_kem_message",
    ];
    const REKEY: [&str; 4] = [
        "rekey_client_ephemeral",
        "rekey_exec_server_ephemeral",
        "rekey_client_kem_seed",
        "rekey_exec_server_kem_message",
    ];

    fn new(client: u8, server: u8) -> Self {
        Self {
            ephemerals: [counting(client), counting(server)],
            kem_seed: counting(client ^ 0xff),
            kem_message: counting(server ^ 0xff),
        }
    }

    fn of(vector: &Vector<'_>, [client, server, seed, message]: [&str; 4]) -> Self {
        Self {
            ephemerals: [vector.array(client), vector.array(server)],
            kem_seed: vector.array(seed),
            kem_message: vector.array(message),
        }
    }

    fn described(&self, case: Case, [client, server, seed, message]: [&'static str; 4]) -> Case {
        case.bytes(client, self.ephemerals[0])
            .bytes(server, self.ephemerals[1])
            .bytes(seed, self.kem_seed)
            .bytes(message, self.kem_message)
    }

    /// For the next message 1 of this thread.
    fn start(&self) {
        ephemeral::fix_kem(self.kem_seed);
        ephemeral::fix([self.ephemerals[0]]);
    }

    /// For the next message 1 that this thread reads, and the message 2 that answers it.
    fn answer(&self) {
        let mut drawn = [0; 64];
        drawn[..32].copy_from_slice(&self.kem_message);
        ephemeral::fix_kem(drawn);
        ephemeral::fix([self.ephemerals[1]]);
    }
}

/// The inputs that determine every byte of a session.
struct Setup {
    client: Arc<StaticKey>,
    server: Arc<StaticKey>,
    prologue: Vec<u8>,
    /// Of the first handshake.
    randomness: Randomness,
    exec_server_id: [u8; 16],
    session_id: [u8; 16],
}

const CLIENT_SEED: [u8; 32] = [0x11; 32];
const SERVER_SEED: [u8; 32] = [0x22; 32];

fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(at as u8))
}

impl Setup {
    fn new(client: [u8; 32], server: [u8; 32], randomness: Randomness, ids: [[u8; 16]; 2]) -> Self {
        let key = |seed| Arc::new(Seed::from_bytes(seed).client_key().unwrap());
        let [exec_server_id, session_id] = ids;
        Self {
            client: key(client),
            server: key(server),
            prologue: prologue(ExecServerId(exec_server_id), SessionId(session_id)),
            randomness,
            exec_server_id,
            session_id,
        }
    }

    fn example() -> Self {
        let randomness = Randomness::new(0x40, 0x80);
        Self::new(CLIENT_SEED, SERVER_SEED, randomness, [[0xaa; 16], [0xbb; 16]])
    }

    fn of(vector: &Vector<'_>) -> Self {
        let setup = Self::new(
            vector.array("client_seed"),
            vector.array("exec_server_seed"),
            Randomness::of(vector, Randomness::SESSION),
            [vector.array("exec_server_id"), vector.array("session_id")],
        );
        assert_eq!(setup.client.expose(), vector.bytes("client_private_key"));
        assert_eq!(setup.server.expose(), vector.bytes("exec_server_private_key"));
        assert_eq!(
            setup.server.public().as_bytes(),
            &vector.array("exec_server_public_key")
        );
        assert_eq!(setup.prologue, vector.bytes("prologue"));
        setup
    }

    /// The JSON members that [`of`](Self::of) reads.
    fn described(&self, case: Case) -> Case {
        let case = case
            .bytes("client_seed", CLIENT_SEED)
            .bytes("client_private_key", self.client.expose())
            .bytes("exec_server_seed", SERVER_SEED)
            .bytes("exec_server_private_key", self.server.expose())
            .bytes("exec_server_public_key", self.server.public().as_bytes());
        self.randomness
            .described(case, Randomness::SESSION)
            .bytes("exec_server_id", self.exec_server_id)
            .bytes("session_id", self.session_id)
            .bytes("prologue", &self.prologue)
    }

    fn initiator(&self) -> (Initiator, Bytes) {
        self.randomness.start();
        Initiator::start(&self.client, self.server.public(), &self.prologue).unwrap()
    }

    fn responder(&self, message1: &[u8]) -> Result<Responder, HandshakeError> {
        Responder::read(&self.server, &self.prologue, message1)
    }

    /// Runs the handshake. Returns message 1, message 2, and the transports of client and exec-server.
    fn shake(&self, payload: &[u8]) -> (Bytes, Bytes, [Transport; 2]) {
        let (initiator, message1) = self.initiator();
        self.randomness.answer();
        let responder = self.responder(&message1).unwrap();
        let (server, message2) = responder.finish(payload).unwrap();
        let (client, opened) = initiator.finish(&message2).unwrap();
        assert_eq!(opened, payload);
        assert!(ephemeral::all_drawn());
        assert_eq!(client.hash(), server.hash());
        (message1, message2, [client, server])
    }
}

fn hello_json(hello: &ServerHello) -> Json {
    object([
        ("epoch", hex(&hello.epoch)),
        ("received_unix_ns", hello.received_unix_ns.into()),
        ("sent_unix_ns", hello.sent_unix_ns.into()),
        ("window", hello.window.into()),
        ("retry_after_ms", hello.retry_after_ms.into()),
        ("version", hello.version.into()),
        ("features", hello.features.into()),
    ])
}

fn hello_of(fields: &Vector<'_>) -> ServerHello {
    let small = |member| u32::try_from(fields.number(member)).unwrap();
    ServerHello {
        epoch: fields.bytes("epoch").into(),
        received_unix_ns: fields.number("received_unix_ns"),
        sent_unix_ns: fields.number("sent_unix_ns"),
        window: small("window"),
        retry_after_ms: small("retry_after_ms"),
        version: small("version"),
        features: fields.number("features"),
    }
}

fn hello(window: u32, retry_after_ms: u32) -> ServerHello {
    ServerHello {
        epoch: vec![0xee; 16].into(),
        received_unix_ns: 1_700_000_000_000_000_000,
        sent_unix_ns: 1_700_000_000_000_250_000,
        window,
        retry_after_ms,
        version: 2,
        features: 0,
    }
}

fn handshakes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, hello) in [
        ("a session", hello(1_835_008, 0)),
        ("no session left for this client", hello(1_835_008, 2_000)),
        ("an exec-server without `window`", hello(0, 0)),
        (
            "a later version with features 0 and 40",
            ServerHello {
                version: 3,
                features: 1 << 40 | 1,
                ..hello(1_835_008, 0)
            },
        ),
    ] {
        let setup = Setup::example();
        let payload = hello.encode_to_vec();
        let (message1, message2, [client, _]) = setup.shake(&payload);
        let case = setup
            .described(Case::new("handshake", name))
            .bytes("payload_1", b"")
            .bytes("message_1", message1)
            .with("server_hello", hello_json(&hello))
            .bytes("payload_2", payload)
            .bytes("message_2", message2)
            .bytes("handshake_hash", client.hash());
        cases.push(case);
    }
    let setup = Setup::example();
    let (message1, message2, _) = setup.shake(&hello(1_835_008, 0).encode_to_vec());
    let altered = |message: &Bytes, at: usize| {
        let mut message = message.to_vec();
        message[at] ^= 1;
        message
    };
    let of = |name: &str, message: Vec<u8>| {
        setup
            .described(Case::new("refused message 1", name))
            .bytes("message_1", message)
    };
    cases.push(of("another ephemeral key", altered(&message1, 0)));
    cases.push(of("another ML-KEM key", altered(&message1, 32)));
    cases.push(of("another static key", altered(&message1, 1232)));
    cases.push(of("another tag", altered(&message1, 1295)));
    cases.push(of("one byte short", message1[..1295].to_vec()));
    let without_kem = [&message1[..32], &message1[1232..]].concat();
    cases.push(of("no ML-KEM key", without_kem));
    let low_order = [&[0; 32][..], &message1[32..]].concat();
    cases.push(of("an ephemeral key of low order", low_order));
    cases.push(of("a payload", with_payload(&setup)));
    let other_session = Setup::new(
        CLIENT_SEED,
        SERVER_SEED,
        setup.randomness,
        [[0xaa; 16], [0xbc; 16]],
    );
    cases.push(of(
        "the prologue of another session",
        other_session.initiator().1.to_vec(),
    ));
    cases.push(
        setup
            .described(Case::new(
                "no message 2",
                "an ML-KEM key with coefficients above the modulus",
            ))
            .bytes("message_1", hostile(&setup)),
    );
    let of = |name: &str, message: Vec<u8>| {
        setup
            .described(Case::new("refused message 2", name))
            .bytes("message_1", &message1)
            .bytes("message_2", message)
    };
    cases.push(of("another ephemeral key", altered(&message2, 0)));
    cases.push(of("another ML-KEM ciphertext", altered(&message2, 32)));
    cases.push(of("another payload", altered(&message2, 1140)));
    cases.push(of("one byte short", message2[..message2.len() - 1].to_vec()));
    cases
}

/// A message 1 with a payload.
fn with_payload(setup: &Setup) -> Vec<u8> {
    let randomness = KemRandomness::fixed(setup.randomness.kem_seed);
    let mut state = initiator(setup, Box::new(Resolver::new(randomness)));
    let mut message = vec![0; MESSAGE_1_LEN + 5];
    let len = state.write_message(b"early", &mut message).unwrap();
    message.truncate(len);
    message
}

/// A message 1 that verifies, with an invalid ML-KEM key.
fn hostile(setup: &Setup) -> Vec<u8> {
    let resolver = HostileResolver(Resolver::without_kem_randomness());
    let mut state = initiator(setup, Box::new(resolver));
    let mut message = vec![0; MESSAGE_1_LEN];
    state.write_message(&[], &mut message).unwrap();
    message
}

fn initiator(setup: &Setup, resolver: BoxedCryptoResolver) -> snow::HandshakeState {
    snow::Builder::with_resolver(crate::suite::params().unwrap(), resolver)
        .local_private_key(setup.client.expose())
        .and_then(|builder| builder.prologue(&setup.prologue))
        .and_then(|builder| builder.remote_public_key(setup.server.public().as_bytes()))
        .map(|builder| builder.fixed_ephemeral_key_for_testing_only(&setup.randomness.ephemerals[0]))
        .and_then(snow::Builder::build_initiator)
        .unwrap()
}

fn decode_handshake(vector: Vector<'_>) {
    let setup = Setup::of(&vector);
    match vector.kind() {
        "handshake" => {
            let payload = vector.bytes("payload_2");
            let hello = hello_of(&vector.object("server_hello"));
            assert_eq!(ServerHello::decode(&payload[..]), Ok(hello.clone()));
            assert_eq!(hello.encode_to_vec(), payload);
            let (message1, message2, [client, _]) = setup.shake(&payload);
            assert_eq!(message1, vector.bytes("message_1"));
            assert_eq!(vector.text("payload_1"), "");
            assert_eq!(message2, vector.bytes("message_2"));
            assert_eq!(client.hash(), &vector.array("handshake_hash"));
        }
        "refused message 1" => {
            let read = setup.responder(&vector.bytes("message_1"));
            assert_eq!(read.err(), Some(HandshakeError::Verify));
        }
        "no message 2" => {
            let responder = setup.responder(&vector.bytes("message_1")).unwrap();
            assert_eq!(responder.finish(b"").err(), Some(HandshakeError::KemKey));
        }
        "refused message 2" => {
            let (initiator, message1) = setup.initiator();
            assert_eq!(message1, vector.bytes("message_1"));
            let finished = initiator.finish(&vector.bytes("message_2"));
            assert_eq!(finished.err(), Some(HandshakeError::Verify));
        }
        _ => vector.unknown_kind(),
    }
}

fn sealed(transport: &mut Transport, plaintext: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(plaintext);
    transport.seal(&mut out).unwrap();
    out.to_vec()
}

const CLIENT: &str = "client";
const SERVER: &str = "exec-server";

fn message_json(from: &'static str, plaintext: &[u8], message: &[u8]) -> Json {
    object([
        ("from", from.into()),
        ("plaintext", hex(plaintext)),
        ("message", hex(message)),
    ])
}

fn transports() -> Vec<Case> {
    let setup = Setup::example();
    let payload = hello(1_835_008, 0).encode_to_vec();
    let (_, _, [mut client, mut server]) = setup.shake(&payload);
    let ping = b"\x06\x00\x00\x0b\x00\x00\x00\x00\x08\x01\x11\x00\xca\x9a\x3b\x00\x00\x00\x00";
    let long: Vec<u8> = (0..=255).cycle().take(600).collect();
    let mut messages = Vec::new();
    for (from, plaintext) in [
        (CLIENT, &ping[..]),
        (SERVER, b"the exec-server's first"),
        (CLIENT, b""),
        (CLIENT, &long),
        (SERVER, b""),
        (SERVER, b"its third"),
    ] {
        let transport = if from == CLIENT { &mut client } else { &mut server };
        messages.push(message_json(from, plaintext, &sealed(transport, plaintext)));
    }
    let described = |case| setup.described(case).bytes("payload_2", &payload);
    let mut cases = vec![
        described(Case::new(
            "messages",
            "both directions, from the first message on",
        ))
        .with("messages", list(messages)),
    ];
    let (_, _, [mut client, _]) = setup.shake(&payload);
    let [first, second] = [b"one", b"two"].map(|plaintext| sealed(&mut client, plaintext));
    let mut altered = first.clone();
    altered[0] ^= 1;
    let short = first[..15].to_vec();
    for (name, before, message) in [
        ("an altered message", vec![], altered),
        ("a message that comes too early", vec![], second),
        ("a repeated message", vec![first.clone()], first),
        ("fewer bytes than a tag", vec![], short),
        ("no bytes", vec![], Vec::new()),
    ] {
        let case = described(Case::new("refused message", name))
            .with("accepted", list(before.iter().map(hex)))
            .bytes("message", message);
        cases.push(case);
    }
    cases
}

fn decode_transport(vector: Vector<'_>) {
    let setup = Setup::of(&vector);
    let (_, _, [mut client, mut server]) = setup.shake(&vector.bytes("payload_2"));
    match vector.kind() {
        "messages" => {
            for message in vector.list("messages") {
                let (from, to) = match message.text("from") {
                    CLIENT => (&mut client, &mut server),
                    SERVER => (&mut server, &mut client),
                    other => panic!("an unknown end `{other}`"),
                };
                let (plaintext, bytes) = (message.bytes("plaintext"), message.bytes("message"));
                assert_eq!(sealed(from, &plaintext), bytes);
                assert_eq!(to.open(&bytes).unwrap(), plaintext);
            }
        }
        "refused message" => {
            for accepted in vector.byte_strings("accepted") {
                server.open(&accepted).unwrap();
            }
            let opened = server.open(&vector.bytes("message"));
            assert_eq!(opened.err(), Some(TransportError::Decrypt));
        }
        _ => vector.unknown_kind(),
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 0][..], &len, &[0; 4], body].concat()
}

fn plaintext_of(control: &Control) -> Vec<u8> {
    match control {
        Control::Request => frame(10, &[]),
        Control::Start(message) => frame(10, message),
        Control::Answer(message) => [frame(10, message), frame(9, &[])].concat(),
        Control::Switch => frame(9, &[]),
    }
}

fn control_of(plaintext: &[u8]) -> Option<Control> {
    let kind = *plaintext.first()?;
    let len = usize::from(u16::from_be_bytes([*plaintext.get(2)?, *plaintext.get(3)?]));
    let body = || Bytes::copy_from_slice(&plaintext[8..8 + len]);
    match kind {
        9 => Some(Control::Switch),
        10 if len == 0 => Some(Control::Request),
        10 if plaintext.len() > 8 + len => Some(Control::Answer(body())),
        10 => Some(Control::Start(body())),
        _ => None,
    }
}

/// Both ends of a session in which a rekey is due when the exec-server, or the client, has sealed one message.
struct Renewing {
    client: Session,
    server: Session,
    randomness: Randomness,
    now: Instant,
}

impl Renewing {
    fn new(setup: &Setup, payload: &[u8], randomness: Randomness) -> Self {
        let (_, _, [client, server]) = setup.shake(payload);
        let now = Instant::now();
        let client_end = Endpoint::Client {
            key: Arc::clone(&setup.client),
            exec_server: *setup.server.public(),
        };
        let server_end = Endpoint::ExecServer {
            key: Arc::clone(&setup.server),
            client: *setup.client.public(),
        };
        let policy = |messages| RekeyPolicy {
            after: KeyLimit {
                messages,
                bytes: u64::MAX,
            },
            ..RekeyPolicy::default()
        };
        Self {
            client: Session::new(client, client_end, setup.prologue.clone(), policy(u64::MAX), now),
            server: Session::new(server, server_end, setup.prologue.clone(), policy(2), now),
            randomness,
            now,
        }
    }

    /// Delivers one message: `data`, or the pending rekey message. Returns its plaintext and its bytes.
    fn pass(&mut self, from: &'static str, data: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
        let (sender, receiver) = match from {
            CLIENT => (&mut self.client, &mut self.server),
            _ => (&mut self.server, &mut self.client),
        };
        let (plaintext, control) = match data {
            Some(data) => (data.to_vec(), None),
            None => {
                let control = sender.control().expect("a message of the rekey is due");
                (plaintext_of(&control), Some(control))
            }
        };
        let mut message = BytesMut::from(&plaintext[..]);
        sender.seal(&mut message).unwrap();
        if control.is_some() {
            sender.control_sealed(self.now);
        }
        assert_eq!(receiver.open(&message).unwrap(), plaintext);
        if let Some(control) = control {
            match &control {
                Control::Request => self.randomness.start(),
                Control::Start(_) => self.randomness.answer(),
                _ => {}
            }
            if let Some(answer) = receiver.handle_control(self.now, control).unwrap() {
                receiver.answer(self.now, answer).unwrap();
            }
            assert!(ephemeral::all_drawn());
        }
        (plaintext, message.to_vec())
    }
}

fn rekeys() -> Vec<Case> {
    let setup = Setup::example();
    let payload = hello(1_835_008, 0).encode_to_vec();
    let randomness = Randomness::new(0xc0, 0x10);
    let (_, _, [client, _]) = setup.shake(&payload);
    let first_hash = *client.hash();
    let mut both = Renewing::new(&setup, &payload, randomness);
    let mut messages = Vec::new();
    for (from, name, data) in [
        (CLIENT, "under the first keys", Some(&b"client, 0"[..])),
        (SERVER, "under the first keys", Some(b"exec-server, 0")),
        (SERVER, "under the first keys", Some(b"exec-server, 1")),
        (SERVER, "Request", None),
        (CLIENT, "Start", None),
        (
            CLIENT,
            "between Start and Switch, under the first keys",
            Some(b"client, 2"),
        ),
        (SERVER, "Answer", None),
        (
            SERVER,
            "the first under the new keys",
            Some(b"exec-server, 0 again"),
        ),
        (CLIENT, "Switch", None),
        (CLIENT, "the first under the new keys", Some(b"client, 0 again")),
        (
            SERVER,
            "the second under the new keys",
            Some(b"exec-server, 1 again"),
        ),
    ] {
        let (plaintext, message) = both.pass(from, data);
        both.server.poll(both.now).unwrap();
        messages.push(object([
            ("is", name.into()),
            ("from", from.into()),
            ("plaintext", hex(plaintext)),
            ("message", hex(message)),
        ]));
    }
    assert_eq!((both.client.renewals(), both.server.renewals()), (1, 1));
    let case = setup
        .described(Case::new("rekey", "the exec-server asks for one"))
        .bytes("payload_2", &payload)
        .bytes("handshake_hash", first_hash);
    let case = randomness
        .described(case, Randomness::REKEY)
        .bytes(
            "rekey_prologue",
            crate::prologue::rekey_prologue(&setup.prologue, &first_hash),
        )
        .bytes("rekey_handshake_hash", both.client.handshake_hash())
        .with("messages", list(messages));
    vec![case]
}

fn decode_rekey(vector: Vector<'_>) {
    match vector.kind() {
        "rekey" => {
            let setup = Setup::of(&vector);
            let payload = vector.bytes("payload_2");
            let (_, _, [client, _]) = setup.shake(&payload);
            assert_eq!(client.hash(), &vector.array("handshake_hash"));
            assert_eq!(
                crate::prologue::rekey_prologue(&setup.prologue, client.hash()),
                vector.bytes("rekey_prologue")
            );
            let randomness = Randomness::of(&vector, Randomness::REKEY);
            let mut both = Renewing::new(&setup, &payload, randomness);
            for message in vector.list("messages") {
                println!("message: {}", message.text("is"));
                let from = if message.text("from") == CLIENT {
                    CLIENT
                } else {
                    SERVER
                };
                let plaintext = message.bytes("plaintext");
                let data = control_of(&plaintext).is_none().then_some(&plaintext[..]);
                let passed = both.pass(from, data);
                assert_eq!(passed, (plaintext, message.bytes("message")));
                both.server.poll(both.now).unwrap();
            }
            assert_eq!(both.client.renewals(), 1);
            assert_eq!(
                both.client.handshake_hash(),
                &vector.array("rekey_handshake_hash")
            );
        }
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_the_handshake_hold() {
    check(
        "handshake.json",
        "Section 4: the handshake with fixed randomness. The Noise private keys follow from the seeds as keys.json \
         shows. `*_ephemeral` are X25519 private keys, `client_kem_seed` is `d` and `z` of the client's ML-KEM key, \
         `exec_server_kem_message` is `m` of the encapsulation. Where there is `no message 2`, the exec-server can read \
         `message_1`, and must end the handshake instead of answering.",
        &handshakes(),
        decode_handshake,
    );
}

#[test]
fn the_vectors_of_transport_messages_hold() {
    check(
        "transport.json",
        "Section 4: transport messages after the handshake of these keys with this payload of message 2. They have no \
         padding. In a `refused message` the exec-server has opened `accepted`; then `message`, from the client, ends \
         the session.",
        &transports(),
        decode_transport,
    );
}

#[test]
fn the_vectors_of_a_rekey_hold() {
    check(
        "rekey.json",
        "Section 4: a rekey inside a session, and the first messages under the new keys. `plaintext` holds whole inner \
         frames only where `is` names a message of the rekey.",
        &rekeys(),
        decode_rekey,
    );
}
