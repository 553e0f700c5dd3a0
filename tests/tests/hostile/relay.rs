//! A relay that hands every session of a chosen ticket to the test, message by message, and forwards the others.
//!
//! It authenticates no peer. A ticket whose sessions go to the test differs from the real one in its dial token, which
//! an honest relay would refuse.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_core_client::Ticket;
use baton_proto::registration::exec_server_id;
use baton_proto::relay::{
    Challenge, Frame, HereRequest, HereResponse, Incoming, RegisterRequest, RegisterResponse, Registered,
    register_request, register_response,
};
use baton_proto::{ExecServerId, SessionId, header};
use baton_rpc::relay::relay_server::{Relay, RelayServer};
use bytes::{Buf, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::BoxStream;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of gRPC's message prefix: a flag and a length.
pub(crate) const PREFIX: usize = 5;

/// The relay. It runs until the test's runtime ends.
#[derive(Clone)]
pub(crate) struct HostileRelay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Responses for the next exec-server that registers, in place of a registration.
    greeting: Mutex<Option<Vec<Option<register_response::Kind>>>>,
    registrations: Mutex<HashMap<ExecServerId, mpsc::Sender<Result<RegisterResponse, Status>>>>,
    /// The protocol version in every `Incoming`, regardless of the client's header. 0: unknown.
    version_hint: Mutex<u32>,
    /// Sessions that wait for an accept, by accept token.
    announced: Mutex<HashMap<String, oneshot::Sender<Half>>>,
    /// Channels to the tests that intercept sessions, by dial token.
    intercepted: Mutex<HashMap<String, mpsc::UnboundedSender<Dialled>>>,
}

/// A client that has dialled and waits for an answer. Dropping this refuses the dial.
pub(crate) struct Dialled {
    pub(crate) exec_server: ExecServerId,
    pub(crate) session: SessionId,
    source: Source,
    answer: oneshot::Sender<Response200>,
}

/// One peer's outer stream: the messages from it, and the messages to it.
pub(crate) struct Half {
    pub(crate) source: Source,
    pub(crate) sink: Sink,
}

/// Reads whole gRPC messages, with their prefix, from a peer.
pub(crate) struct Source {
    body: Body,
    buffered: BytesMut,
}

/// Sends any bytes to a peer. Dropping it ends the stream.
pub(crate) struct Sink(mpsc::Sender<Bytes>);

type Response200 = mpsc::Receiver<Bytes>;

impl HostileRelay {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder().add_service(Service(relay.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        relay
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns a ticket whose sessions go to the test, and the channel that receives them.
    pub(crate) fn intercept(&self, real: &Ticket) -> (Ticket, mpsc::UnboundedReceiver<Dialled>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut ticket = real.clone();
        ticket.dial_token.0 = rand::random();
        lock(&self.state.intercepted).insert(HEXLOWER.encode(&ticket.dial_token.0), sender);
        (ticket, receiver)
    }

    /// Sends an exec-server an `Incoming` for this session, dialled or not, and waits until it accepts. `None`: it did
    /// not accept.
    pub(crate) async fn announce(&self, exec_server: ExecServerId, session: SessionId) -> Option<Half> {
        let token: [u8; 32] = rand::random();
        let (sender, accepted) = oneshot::channel();
        lock(&self.state.announced).insert(HEXLOWER.encode(&token), sender);
        let incoming = Incoming {
            session_id: session.0.to_vec().into(),
            accept_token: token.to_vec().into(),
            origin: Bytes::new(),
            version: *lock(&self.state.version_hint),
        };
        self.respond(exec_server, register_response::Kind::Incoming(incoming))
            .await;
        accepted.await.ok()
    }

    /// Puts this protocol version into every later `Incoming`.
    pub(crate) fn hint_version(&self, version: u32) {
        *lock(&self.state.version_hint) = version;
    }

    /// Sends the next exec-server that registers these responses, and then nothing.
    pub(crate) fn greet(&self, with: Vec<Option<register_response::Kind>>) {
        *lock(&self.state.greeting) = Some(with);
    }

    /// Sends any response to a registered exec-server.
    pub(crate) async fn respond(
        &self,
        exec_server: ExecServerId,
        kind: impl Into<Option<register_response::Kind>>,
    ) {
        let registration = lock(&self.state.registrations).get(&exec_server).cloned();
        let message = RegisterResponse { kind: kind.into() };
        // Fails if the exec-server has closed its stream.
        let _ = registration.expect("registered once").send(Ok(message)).await;
    }

    /// Forwards a session as an honest relay does.
    async fn carry(self, dialled: Dialled) {
        if let Some(server) = self.announce(dialled.exec_server, dialled.session).await {
            splice(
                dialled.answer(),
                server,
                Forwarding::default(),
                Forwarding::default(),
            )
            .await;
        }
    }
}

/// How the messages of one direction are forwarded. They are counted from 0. By default they are not changed.
#[derive(Default)]
pub(crate) struct Forwarding {
    /// Delay of each message, and of the messages behind it.
    pub(crate) delay: Duration,
    /// Replaces each message by these bytes; after `Break` the session ends.
    pub(crate) alter: Option<Alter>,
}

pub(crate) type Alter = Box<dyn FnMut(usize, Bytes) -> ControlFlow<Vec<Bytes>, Vec<Bytes>> + Send>;

/// Forwards messages in both directions until either peer ends its stream.
pub(crate) async fn splice(client: Half, server: Half, up: Forwarding, down: Forwarding) {
    tokio::select! {
        () = carry(client.source, server.sink, up) => {}
        () = carry(server.source, client.sink, down) => {}
    }
}

/// Forwards the messages of one direction until either peer ends its stream.
pub(crate) async fn carry(mut source: Source, sink: Sink, mut forwarding: Forwarding) {
    let mut number = 0;
    while let Some(message) = source.next().await {
        sleep(forwarding.delay).await;
        let altered = match &mut forwarding.alter {
            Some(alter) => alter(number, message),
            None => ControlFlow::Continue(vec![message]),
        };
        number += 1;
        let (ControlFlow::Continue(pieces) | ControlFlow::Break(pieces)) = &altered;
        for piece in pieces {
            if !sink.send(piece.clone()).await {
                return;
            }
        }
        if altered.is_break() {
            return;
        }
    }
}

impl Dialled {
    /// Answers as if an exec-server had accepted.
    pub(crate) fn answer(self) -> Half {
        let (sender, receiver) = mpsc::channel(64);
        // Fails if the client has dropped its dial.
        let _ = self.answer.send(receiver);
        Half {
            source: self.source,
            sink: Sink(sender),
        }
    }
}

impl Source {
    fn new(body: Body) -> Self {
        Self {
            body,
            buffered: BytesMut::new(),
        }
    }

    /// The next message; `None` after the peer has ended or reset its stream.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(mut length) = self.buffered.get(1..PREFIX) {
                let len = PREFIX + length.get_u32() as usize;
                if self.buffered.len() >= len {
                    return Some(self.buffered.split_to(len).freeze());
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.buffered.extend_from_slice(&frame.into_data().ok()?);
        }
    }
}

impl Sink {
    /// Returns `false` if the peer has closed its stream.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(bytes.into()).await.is_ok()
    }
}

/// Wraps an encoded `Frame` in a gRPC message.
pub(crate) fn message(frame: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(PREFIX + frame.len());
    message.extend_from_slice(&[0]);
    message.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    message.extend_from_slice(frame);
    message.freeze()
}

/// Wraps a Noise message in a `Frame` and a gRPC message.
pub(crate) fn around(noise: &[u8]) -> Bytes {
    let frame = Frame {
        noise: Bytes::copy_from_slice(noise),
        ..Frame::default()
    };
    message(&frame.encode_to_vec())
}

/// The Noise message in an honest peer's gRPC message.
pub(crate) fn noise(message: &Bytes) -> Bytes {
    Frame::decode(message.slice(PREFIX..)).unwrap().noise
}

#[derive(Clone)]
struct Service(HostileRelay);

impl NamedService for Service {
    const NAME: &'static str = "baton.relay.v1.Relay";
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let relay = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path().rsplit('/').next() {
                Some("Register") => RelayServer::new(relay).call(request).await?,
                Some("Dial") => relay.dial(request).await,
                _ => relay.accept(request),
            })
        })
    }
}

impl HostileRelay {
    async fn dial(self, request: http::Request<Body>) -> http::Response<Body> {
        let (head, body) = request.into_parts();
        let text = |name: &str| head.headers[name].to_str().unwrap();
        let (answer, answered) = oneshot::channel();
        let dialled = Dialled {
            exec_server: text(header::EXEC_SERVER_ID).parse().unwrap(),
            session: text(header::SESSION_ID).parse().unwrap(),
            source: Source::new(body),
            answer,
        };
        let test = lock(&self.state.intercepted)
            .get(text(header::DIAL_TOKEN))
            .cloned();
        match test {
            // Fails if the test takes no more sessions; then the dial is refused.
            Some(test) => drop(test.send(dialled)),
            None => drop(tokio::spawn(self.carry(dialled))),
        }
        match answered.await {
            Ok(messages) => stream_of(messages),
            Err(_) => Status::unavailable("refused by the test").into_http(),
        }
    }

    fn accept(self, request: http::Request<Body>) -> http::Response<Body> {
        let (head, body) = request.into_parts();
        let announced =
            lock(&self.state.announced).remove(head.headers[header::ACCEPT_TOKEN].to_str().unwrap());
        let Some(announced) = announced else {
            return Status::permission_denied("no dial with this accept token").into_http();
        };
        let (sender, messages) = mpsc::channel(64);
        let half = Half {
            source: Source::new(body),
            sink: Sink(sender),
        };
        // Fails if the test no longer waits for the accept.
        let _ = announced.send(half);
        stream_of(messages)
    }
}

fn stream_of(messages: Response200) -> http::Response<Body> {
    let frames = ReceiverStream::new(messages).map(|bytes| Ok::<_, Status>(http_body::Frame::data(bytes)));
    let mut response = http::Response::new(Body::new(StreamBody::new(frames)));
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

#[tonic::async_trait]
impl Relay for HostileRelay {
    type RegisterStream = BoxStream<RegisterResponse>;
    type DialStream = BoxStream<Frame>;
    type AcceptStream = BoxStream<Frame>;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let (sender, responses) = mpsc::channel(64);
        let relay = self.clone();
        let greeting = lock(&self.state.greeting).take();
        if let Some(greeting) = greeting {
            let responses = greeting.into_iter().map(|kind| Ok(RegisterResponse { kind }));
            let silence = tokio_stream::pending();
            return Ok(Response::new(Box::pin(
                tokio_stream::iter(responses).chain(silence),
            )));
        }
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            let nonce = vec![0; 32].into();
            let respond = async |kind| {
                let message = RegisterResponse { kind: Some(kind) };
                let _ = sender.send(Ok(message)).await;
            };
            respond(register_response::Kind::Challenge(Challenge { nonce })).await;
            while let Ok(Some(request)) = requests.message().await {
                let Some(register_request::Kind::Proof(proof)) = request.kind else {
                    continue;
                };
                let id = exec_server_id(&proof.public_key);
                lock(&relay.state.registrations).insert(id, sender.clone());
                respond(register_response::Kind::Registered(Registered {
                    exec_server_id: id.0.to_vec().into(),
                    max_sessions: 64,
                    ping_interval_ms: 0,
                }))
                .await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn here(&self, _: Request<HereRequest>) -> Result<Response<HereResponse>, Status> {
        Err(Status::unimplemented("as of an earlier version"))
    }

    async fn dial(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        Err(Status::unimplemented("handled by `call`"))
    }

    async fn accept(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::AcceptStream>, Status> {
        Err(Status::unimplemented("handled by `call`"))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
