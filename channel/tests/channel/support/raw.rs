//! Raw ends of a session, for behaviour that a conforming end never shows. The test drives the frames to and from the
//! relay, Noise and the multiplexer itself.

use std::time::Instant;

use baton_channel::key::{Seed, ServerKeys, StaticKey};
use baton_channel::ticket::Ticket;
use baton_export::clock;
use baton_mux::{Event, Mux, RelayStamp, Role, StreamId};
use baton_noise::{Initiator, Responder, Transport, prologue};
use baton_proto::channel::{Head, Metadata, ServerHello, go_away};
use baton_proto::registration::{dial_token_hash, exec_server_id};
use baton_proto::relay::{
    Frame, Incoming, Ping, Pong, RegisterRequest, RegisterResponse, register_request, register_response,
};
use baton_proto::{ExecServerId, PROTOCOL_VERSION, SessionId, header};
use baton_rpc::relay::relay_client::RelayClient;
use baton_support::registration;
use bytes::{Buf, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::within;

/// One end of an outer stream.
pub(crate) struct RawStream {
    pub(crate) send: mpsc::Sender<Frame>,
    pub(crate) receive: Streaming<Frame>,
}

impl RawStream {
    pub(crate) async fn send(&self, noise: impl Into<Bytes>) {
        let frame = Frame {
            noise: noise.into(),
            ..Frame::default()
        };
        self.send.send(frame).await.expect("the relay takes frames");
    }

    pub(crate) async fn next(&mut self) -> Bytes {
        let frame = within(self.receive.message()).await.unwrap();
        frame.expect("the other end is there").noise
    }
}

pub(crate) async fn client(relay_url: &str) -> RelayClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(relay_url.to_owned()).unwrap();
    RelayClient::new(within(endpoint.connect()).await.unwrap())
}

pub(crate) fn request<T>(message: T, headers: &[(&'static str, String)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub(crate) fn dial_headers(ticket: &Ticket, session: SessionId) -> [(&'static str, String); 4] {
    [
        (header::EXEC_SERVER_ID, ticket.exec_server.to_string()),
        (header::SESSION_ID, session.to_string()),
        (header::DIAL_TOKEN, HEXLOWER.encode(&ticket.dial_token.0)),
        (header::PROTOCOL_VERSION, PROTOCOL_VERSION.to_string()),
    ]
}

/// Dials and completes the handshake, and sends nothing more.
pub(crate) async fn dial(ticket: &Ticket, key: &StaticKey) -> (RawStream, Transport) {
    let session = SessionId(rand::random());
    let prologue = prologue(ticket.exec_server, session);
    let (initiator, message1) = Initiator::start(key, &ticket.noise_key, &prologue).unwrap();
    let mut end = dial_with(ticket, &dial_headers(ticket, session), message1).await;
    let message2 = end.next().await;
    let (transport, _) = initiator.finish(&message2).unwrap();
    (end, transport)
}

/// Dials with these headers and this message 1, and waits until the relay has answered.
pub(crate) async fn dial_with(
    ticket: &Ticket,
    headers: &[(&'static str, String)],
    message1: Bytes,
) -> RawStream {
    let (send, frames) = mpsc::channel(4);
    let first = Frame {
        noise: message1,
        ..Frame::default()
    };
    send.send(first).await.unwrap();
    let mut relay = client(&ticket.relay_url).await;
    let dialled = relay.dial(request(ReceiverStream::new(frames), headers));
    let receive = within(dialled).await.unwrap().into_inner();
    RawStream { send, receive }
}

/// A server that registers. The test triggers all its other actions.
pub(crate) struct RawServer {
    relay: RelayClient<tonic::transport::Channel>,
    keys: ServerKeys,
    registration: Streaming<RegisterResponse>,
    /// The payload of its message 2.
    pub(crate) hello: ServerHello,
    /// Dropping it ends the registration.
    pub(crate) outbox: mpsc::Sender<RegisterRequest>,
}

impl RawServer {
    pub(crate) async fn register(relay_url: &str) -> (Self, Ticket) {
        let keys = Seed::generate().unwrap().server_keys().unwrap();
        let mut relay = client(relay_url).await;
        let (outbox, requests) = mpsc::channel(1);
        let id = exec_server_id(keys.registration.public());
        let headers = [(header::EXEC_SERVER_ID, id.to_string())];
        let requests = request(ReceiverStream::new(requests), &headers);
        let registration = within(relay.register(requests)).await;
        let mut server = Self {
            relay,
            keys,
            registration: registration.unwrap().into_inner(),
            hello: ServerHello {
                epoch: vec![7; 16].into(),
                version: PROTOCOL_VERSION,
                ..ServerHello::default()
            },
            outbox: outbox.clone(),
        };
        let register_response::Kind::Challenge(challenge) = server.next().await else {
            panic!("the relay speaks first");
        };
        let public = server.keys.registration.public().to_vec();
        let ticket = Ticket {
            relay_url: relay_url.into(),
            exec_server: exec_server_id(&public),
            noise_key: *server.keys.noise.public(),
            dial_token: server.keys.dial_token.clone(),
        };
        let hash = dial_token_hash(&ticket.dial_token.0);
        let authority = relay_url.trim_start_matches("http://");
        let sign = |message: &[u8]| server.keys.registration.sign(message);
        let proof = registration::proof(&public, sign, &challenge.nonce, authority, &hash);
        let kind = Some(register_request::Kind::Proof(proof));
        outbox.send(RegisterRequest { kind }).await.unwrap();
        let answer = server.next().await;
        assert!(matches!(answer, register_response::Kind::Registered(_)));
        (server, ticket)
    }

    async fn next(&mut self) -> register_response::Kind {
        let message = within(self.registration.message()).await.unwrap();
        message.expect("the registration holds").kind.unwrap()
    }

    /// Waits for the next dial. Answers the relay's pings, the first of which may come at any time.
    pub(crate) async fn incoming(&mut self) -> Incoming {
        loop {
            match self.next().await {
                register_response::Kind::Incoming(incoming) => return incoming,
                register_response::Kind::Ping(Ping { nonce }) => {
                    let kind = Some(register_request::Kind::Pong(Pong { nonce }));
                    self.outbox.send(RegisterRequest { kind }).await.unwrap();
                }
                other => panic!("{other:?} instead of a client"),
            }
        }
    }

    #[allow(dead_code, reason = "not every test accepts on its own")]
    pub(crate) fn id(&self) -> ExecServerId {
        exec_server_id(self.keys.registration.public())
    }

    /// Accepts a session and sends nothing.
    pub(crate) async fn accept(&self, incoming: &Incoming) -> RawStream {
        let session = SessionId::try_from(&incoming.session_id[..]).unwrap();
        let headers = [
            (header::EXEC_SERVER_ID, self.id().to_string()),
            (header::SESSION_ID, session.to_string()),
            (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
        ];
        let (send, frames) = mpsc::channel(4);
        let mut relay = self.relay.clone();
        let accepted = within(relay.accept(request(ReceiverStream::new(frames), &headers))).await;
        RawStream {
            send,
            receive: accepted.unwrap().into_inner(),
        }
    }

    /// Accepts the next session, and sends a refusal in the same write as message 2, so that the client receives both
    /// before it can call.
    pub(crate) async fn session_refused(&mut self) -> RawSession {
        let (mut session, message2) = self.accept_next().await;
        session.mux.go_away(go_away::Reason::NotAllowed, "");
        let mut refusal = session.frames();
        session.transport.seal(&mut refusal).unwrap();
        let frame = |noise: Bytes| Frame {
            noise,
            ..Frame::default()
        };
        let mut permits = session.end.send.reserve_many(2).await.unwrap();
        permits.next().unwrap().send(frame(message2));
        permits.next().unwrap().send(frame(refusal.freeze()));
        drop(permits);
        session
    }

    /// Accepts the next session and completes the handshake.
    pub(crate) async fn session(&mut self) -> RawSession {
        let (session, message2) = self.accept_next().await;
        session.end.send(message2).await;
        session
    }

    /// Accepts the next session, and returns its message 2, which is not sent yet.
    async fn accept_next(&mut self) -> (RawSession, Bytes) {
        let incoming = self.incoming().await;
        let session = SessionId::try_from(&incoming.session_id[..]).unwrap();
        let mut end = self.accept(&incoming).await;
        let message1 = end.next().await;
        let id = exec_server_id(self.keys.registration.public());
        let responder = Responder::read(&self.keys.noise, &prologue(id, session), &message1).unwrap();
        let (transport, message2) = responder.finish(&self.hello.encode_to_vec()).unwrap();
        let session = RawSession {
            end,
            transport,
            mux: Mux::new(Role::Server, Instant::now()),
        };
        (session, message2)
    }
}

/// One end of a session whose multiplexer the test drives.
pub(crate) struct RawSession {
    end: RawStream,
    transport: Transport,
    pub(crate) mux: Mux,
}

impl RawSession {
    /// The client's end, after it has sent its `Hello`.
    pub(crate) async fn dial(ticket: &Ticket, key: &StaticKey) -> Self {
        let mut session = Self::dial_without_hello(ticket, key).await;
        session.flush().await;
        session
    }

    /// The client's end, before it sends anything after the handshake.
    pub(crate) async fn dial_without_hello(ticket: &Ticket, key: &StaticKey) -> Self {
        let (end, transport) = dial(ticket, key).await;
        Self {
            end,
            transport,
            mux: Mux::new(Role::Client, Instant::now()),
        }
    }

    /// Seals and sends frames as one message.
    pub(crate) async fn send(&mut self, plaintext: &[u8]) {
        let mut message = BytesMut::from(plaintext);
        self.transport.seal(&mut message).unwrap();
        self.end.send(message.freeze()).await;
    }

    /// Takes the queued frames.
    pub(crate) fn frames(&mut self) -> BytesMut {
        let mut plaintext = BytesMut::new();
        self.mux.transmit(clock::anchor(), &mut plaintext);
        self.mux.sealed(Instant::now());
        plaintext
    }

    /// Reads to the orderly end of the session, and returns the reason and the detail of the peer's `GoAway`.
    pub(crate) async fn read_go_away(mut self) -> Option<(go_away::Reason, String)> {
        let mut said = None;
        let read = async {
            while let Some(frame) = self.end.receive.message().await.expect("END_STREAM") {
                let plaintext = self.transport.open(&frame.noise).unwrap().freeze();
                let (now, stamp) = (clock::anchor(), RelayStamp::default());
                self.mux.handle(now, now.instant, stamp, plaintext).unwrap();
                while let Some(event) = self.mux.poll_event() {
                    if let Event::GoAway(reason) = event {
                        said = Some((reason, self.mux.goodbye().to_owned()));
                    }
                }
            }
        };
        within(read).await;
        said
    }

    /// Reads to the END_STREAM of the other direction, and leaves this one open.
    #[allow(dead_code, reason = "not every test reads to the end")]
    pub(crate) async fn read_to_end(&mut self) {
        within(async { while self.end.receive.message().await.expect("END_STREAM").is_some() {} }).await;
    }

    /// Sends END_STREAM, and reads to the end of the other direction. Fails if that is not END_STREAM.
    pub(crate) async fn end_in_order(self) -> Result<(), tonic::Status> {
        let RawStream { send, mut receive } = self.end;
        drop(send);
        within(async {
            while receive.message().await?.is_some() {}
            Ok(())
        })
        .await
    }

    /// Sends bytes in place of an encrypted message.
    pub(crate) async fn send_raw(&self, noise: Vec<u8>) {
        self.end.send(noise).await;
    }

    /// Handles the next message, and returns the length of its plaintext.
    pub(crate) async fn receive(&mut self) -> usize {
        let message = self.end.next().await;
        let plaintext = self.transport.open(&message).unwrap().freeze();
        let (stamp, len) = (RelayStamp::default(), plaintext.len());
        self.mux
            .handle(clock::anchor(), Instant::now(), stamp, plaintext)
            .unwrap();
        len
    }

    /// Decrypts the next message without passing it to the multiplexer.
    #[allow(dead_code, reason = "not every test reads raw frames")]
    pub(crate) async fn receive_bytes(&mut self) -> Bytes {
        let message = self.end.next().await;
        self.transport.open(&message).unwrap().freeze()
    }

    /// Decrypts the next message and counts its resets. The multiplexer does not handle them, because it did not open
    /// their streams.
    pub(crate) async fn resets(&mut self) -> usize {
        const RESET: u8 = 4;
        let message = self.end.next().await;
        let mut plaintext = self.transport.open(&message).unwrap().freeze();
        let mut resets = 0;
        while let [kind, _, high, low, ..] = plaintext[..] {
            resets += usize::from(kind == RESET);
            plaintext.advance(8 + usize::from(u16::from_be_bytes([high, low])));
        }
        resets
    }

    /// Reads to the end of the session, and returns each `GoAway` with its reason and each `Reset` with its code, in
    /// order.
    pub(crate) async fn read_go_aways_and_resets(mut self) -> Vec<(&'static str, u8)> {
        let mut said = Vec::new();
        let read = async {
            while let Ok(Some(frame)) = self.end.receive.message().await {
                let mut plaintext = self.transport.open(&frame.noise).unwrap().freeze();
                while let [kind, _, high, low, ..] = plaintext[..] {
                    plaintext.advance(8);
                    let body = plaintext.split_to(usize::from(u16::from_be_bytes([high, low])));
                    match kind {
                        4 => said.push(("Reset", body[3])),
                        8 => said.push(("GoAway", body[1])),
                        _ => {}
                    }
                }
            }
        };
        within(read).await;
        said
    }

    /// Waits for the head of a response.
    pub(crate) async fn response(&mut self, id: StreamId) -> Head {
        loop {
            if let Some(head) = self.mux.take_head(id) {
                return head;
            }
            self.receive().await;
        }
    }

    /// Sends the queued frames.
    pub(crate) async fn flush(&mut self) {
        while self.mux.wants_transmit() {
            let frames = self.frames();
            self.send(&frames).await;
        }
    }

    /// Waits for the next call that the client opens.
    pub(crate) async fn opened(&mut self) -> StreamId {
        loop {
            while let Some(event) = self.mux.poll_event() {
                if let Event::Opened(id) = event {
                    return id;
                }
            }
            self.receive().await;
            self.flush().await;
        }
    }

    /// Answers a unary call with an empty message.
    pub(crate) async fn answer(&mut self, id: StreamId) {
        let status = Metadata {
            key: "grpc-status".into(),
            value: "0".into(),
        };
        self.mux.send_head(id, &Head::default()).unwrap();
        let empty_message = Bytes::from_static(&[0; 5]);
        self.mux
            .send_data(Instant::now(), id, empty_message, false)
            .unwrap();
        self.mux.send_trailers(id, vec![status], None).unwrap();
        self.mux.release(id);
        self.flush().await;
    }

    /// Waits until the client has ended the session.
    pub(crate) async fn ended(mut self) {
        within(async { while let Ok(Some(_)) = self.end.receive.message().await {} }).await;
    }
}
