//! Hand-made peers of a relay: HTTP/2 streams of raw frames, and the registration exchange.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use baton_proto::registration::{dial_token_hash, exec_server_id};
use baton_proto::relay::{
    Frame, Incoming, Pong, Proof, RegisterRequest, RegisterResponse, register_request, register_response,
};
use baton_proto::{ExecServerId, SessionId, header};
use baton_relay::{Config, Drain, Limits, Metrics, MetricsSnapshot, Relay};
use baton_rpc::relay::relay_client::RelayClient;
use baton_support::{frames, registration};
use bytes::{Buf, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// A test that waits longer than this fails instead of hanging.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const DIAL_TOKEN: [u8; 32] = [0xd1; 32];

/// The first frame of a dial.
pub(crate) const MESSAGE_1: &[u8] = b"noise message 1";

/// Awaits `future`; panics with `what` after [`TEST_TIMEOUT`].
pub(crate) async fn within_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(TEST_TIMEOUT, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out waiting for {what}"),
    }
}

/// A relay on a free port of loopback.
pub(crate) struct TestRelay {
    pub(crate) addr: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Drain,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl TestRelay {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::with(Config {
            limits,
            ..Config::default()
        })
        .await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let relay = Relay::bind(SocketAddr::from(([127, 0, 0, 1], 0)), config)
            .await
            .unwrap();
        let (addr, metrics, drain) = (relay.local_addr(), relay.metrics(), relay.drain());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(relay.serve(async {
            let _ = stopped.await;
        }));
        Self {
            addr,
            metrics,
            drain,
            stop: Some(stop),
            served,
        }
    }

    pub(crate) async fn shut_down(&mut self) {
        drop(self.stop.take());
        within_timeout("the relay's end", &mut self.served).await.unwrap();
    }

    /// Waits until `reached` holds for the counters.
    pub(crate) async fn counts(&self, what: &str, reached: impl Fn(&MetricsSnapshot) -> bool) {
        within_timeout(what, async {
            while !reached(&self.metrics.snapshot()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

type OutBody = StreamBody<ReceiverStream<Result<http_body::Frame<Bytes>, std::io::Error>>>;

/// One TCP connection to the relay.
pub(crate) struct PeerConnection {
    send: http2::SendRequest<OutBody>,
    authority: String,
    io: JoinHandle<()>,
    socket: std::net::TcpStream,
}

impl PeerConnection {
    pub(crate) async fn connect(relay: &TestRelay) -> Self {
        Self::with_window(relay, baton_proto::limits::OUTER_STREAM_WINDOW).await
    }

    /// Connects from this loopback address.
    pub(crate) async fn connect_from(relay: &TestRelay, address: [u8; 4]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let stream = socket.connect(relay.addr).await.unwrap();
        Self::on(relay, stream).await
    }

    /// Connects with this initial window of streams.
    pub(crate) async fn with_window(relay: &TestRelay, window: u32) -> Self {
        let stream = TcpStream::connect(relay.addr).await.unwrap();
        Self::over(relay, stream, window).await
    }

    /// HTTP/2 on this connection.
    pub(crate) async fn on(relay: &TestRelay, stream: TcpStream) -> Self {
        Self::over(relay, stream, baton_proto::limits::OUTER_STREAM_WINDOW).await
    }

    async fn over(relay: &TestRelay, stream: TcpStream, window: u32) -> Self {
        let socket = stream.into_std().unwrap();
        socket.set_nodelay(true).unwrap();
        let io = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(baton_proto::limits::OUTER_CONNECTION_WINDOW)
            .max_frame_size(baton_proto::limits::OUTER_FRAME_SIZE)
            .handshake(TokioIo::new(io))
            .await
            .unwrap();
        let io = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            send,
            authority: relay.addr.to_string(),
            io,
            socket,
        }
    }

    /// Resolves when the relay has closed the connection.
    pub(crate) async fn closed(self) {
        let _ = self.io.await;
    }

    /// Shuts down the TCP connection.
    pub(crate) fn cut(self) {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Sends a request; the body can be written before the response arrives.
    pub(crate) fn call(&self, method: &str, headers: &[(&str, String)]) -> Call {
        self.call_as(&self.authority, method, headers)
    }

    /// The same with this authority.
    pub(crate) fn call_as(&self, authority: &str, method: &str, headers: &[(&str, String)]) -> Call {
        let mut request = Request::post(format!("http://{authority}/baton.relay.v1.Relay/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let (body, chunks) = mpsc::channel(1);
        let request = request
            .body(StreamBody::new(ReceiverStream::new(chunks)))
            .unwrap();
        let mut send = self.send.clone();
        let answer = tokio::spawn(async move {
            send.ready().await?;
            send.send_request(request).await
        });
        Call {
            writer: FrameWriter(Some(body)),
            answer,
        }
    }

    /// The HTTP status of `GET path`; the response must not be a gRPC error.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, String)]) -> u16 {
        let mut request = Request::get(format!("http://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // The body's sender is dropped: an empty body.
        let body = StreamBody::new(ReceiverStream::new(mpsc::channel(1).1));
        let mut send = self.send.clone();
        let response = within_timeout("an answer", async {
            send.ready().await?;
            send.send_request(request.body(body).unwrap()).await
        });
        let response = response.await.unwrap();
        assert!(!response.headers().contains_key("grpc-status"));
        response.status().as_u16()
    }

    /// Asks by `Here` whether the exec-server is registered.
    pub(crate) async fn here(&self, id: ExecServerId) -> Result<(), Status> {
        let mut call = self.call("Here", &[(header::EXEC_SERVER_ID, id.to_string())]);
        // An empty message.
        call.writer.send_raw(vec![0; 5]).await;
        call.writer.end();
        let response = within_timeout("an answer", call.answer).await.unwrap().unwrap();
        Status::from_header_map(response.headers()).map_or(Ok(()), Err)
    }

    pub(crate) fn dial(&self, id: ExecServerId, session: SessionId) -> Call {
        self.dial_with(id, session, &DIAL_TOKEN)
    }

    /// Dials with [`MESSAGE_1`] as the first frame.
    pub(crate) fn dial_with(&self, id: ExecServerId, session: SessionId, token: &[u8]) -> Call {
        let call = self.dial_silently(id, session, token);
        let first = Frame {
            noise: MESSAGE_1.into(),
            ..Frame::default()
        };
        call.writer.send_first(&first);
        call
    }

    /// Dials without a first frame.
    pub(crate) fn dial_silently(&self, id: ExecServerId, session: SessionId, token: &[u8]) -> Call {
        self.call(
            "Dial",
            &[
                (header::EXEC_SERVER_ID, id.to_string()),
                (header::SESSION_ID, session.to_string()),
                (header::DIAL_TOKEN, HEXLOWER.encode(token)),
            ],
        )
    }

    /// Accepts as the exec-server `id`.
    pub(crate) fn accept(&self, id: ExecServerId, incoming: &Incoming) -> Call {
        self.call(
            "Accept",
            &[
                (header::EXEC_SERVER_ID, id.to_string()),
                (header::SESSION_ID, HEXLOWER.encode(&incoming.session_id)),
                (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
            ],
        )
    }
}

/// A request in progress.
pub(crate) struct Call {
    pub(crate) writer: FrameWriter,
    answer: JoinHandle<hyper::Result<Response<hyper::body::Incoming>>>,
}

impl Call {
    /// Waits for the response headers of a call that succeeds.
    pub(crate) async fn answered(self) -> SplicedStream {
        let response = within_timeout("response headers", self.answer)
            .await
            .unwrap()
            .unwrap();
        let (head, body) = response.into_parts();
        assert_eq!(head.status, 200);
        assert!(
            !head.headers.contains_key("grpc-status"),
            "refused: {:?}",
            Status::from_header_map(&head.headers)
        );
        assert_eq!(head.headers["content-type"], "application/grpc");
        SplicedStream {
            writer: self.writer,
            reader: FrameReader {
                body,
                bytes: BytesMut::new(),
            },
        }
    }

    /// Waits for the refusal of a call that fails.
    pub(crate) async fn refused(self) -> Status {
        let response = within_timeout("a refusal", self.answer).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        Status::from_header_map(response.headers()).expect("a trailers-only response")
    }

    /// Waits for the transport error of a call without a response; `false` if there is a response.
    pub(crate) async fn failed(self) -> bool {
        within_timeout("a transport error", self.answer)
            .await
            .unwrap()
            .is_err()
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_finished()
    }

    /// Resets the stream before it is answered.
    pub(crate) async fn reset(self) {
        self.answer.abort();
        let _ = self.answer.await;
    }
}

/// One side of a spliced session.
pub(crate) struct SplicedStream {
    pub(crate) writer: FrameWriter,
    pub(crate) reader: FrameReader,
}

/// The request body.
pub(crate) struct FrameWriter(Option<mpsc::Sender<Result<http_body::Frame<Bytes>, std::io::Error>>>);

impl FrameWriter {
    /// Sends one `Frame`; `false` if the stream is closed.
    pub(crate) async fn send(&self, frame: &Frame) -> bool {
        self.send_raw(frames::grpc(frame)).await
    }

    /// Sends the first frame without waiting.
    fn send_first(&self, frame: &Frame) {
        let sender = self.0.as_ref().expect("not ended");
        let sent = sender.try_send(Ok(http_body::Frame::data(frames::grpc(frame).into())));
        sent.expect("there is room");
    }

    pub(crate) async fn send_noise(&self, noise: &[u8]) -> bool {
        self.send(&Frame {
            noise: noise.to_vec().into(),
            ..Frame::default()
        })
        .await
    }

    pub(crate) async fn send_raw(&self, bytes: impl Into<Bytes>) -> bool {
        let sender = self.0.as_ref().expect("not ended");
        sender
            .send(Ok(http_body::Frame::data(bytes.into())))
            .await
            .is_ok()
    }

    /// Ends the body cleanly.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }
}

/// The response body.
pub(crate) struct FrameReader {
    body: hyper::body::Incoming,
    bytes: BytesMut,
}

impl FrameReader {
    /// The next frame, or how the body ended.
    pub(crate) async fn next(&mut self) -> Result<Frame, Status> {
        loop {
            if let Some(frame) = decode(&mut self.bytes) {
                return Ok(frame);
            }
            match within_timeout("a frame or the end", self.body.frame()).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.bytes.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers: HeaderMap = frame.into_trailers().unwrap();
                        assert!(self.bytes.is_empty(), "ended inside a frame");
                        return Err(Status::from_header_map(&trailers).expect("a status"));
                    }
                },
                Some(Err(error)) => return Err(Status::unknown(format!("reset: {error}"))),
                None => return Err(Status::unknown("no trailers")),
            }
        }
    }

    pub(crate) async fn noise(&mut self) -> Bytes {
        self.next().await.expect("a frame").noise
    }

    pub(crate) async fn end(&mut self) -> Status {
        self.next().await.expect_err("the end")
    }
}

fn decode(bytes: &mut BytesMut) -> Option<Frame> {
    let header: [u8; 5] = bytes.get(..5)?.try_into().unwrap();
    assert_eq!(header[0], 0);
    let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if bytes.len() < 5 + len {
        return None;
    }
    bytes.advance(5);
    Some(Frame::decode(bytes.split_to(len)).expect("a Frame"))
}

/// A session id that no other test of this process uses.
pub(crate) fn new_session() -> SessionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    SessionId(u128::from(NEXT.fetch_add(1, Relaxed)).to_be_bytes())
}

/// A registration key.
pub(crate) struct RegistrationKey(Ed25519KeyPair);

impl RegistrationKey {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub(crate) fn id(&self) -> ExecServerId {
        exec_server_id(self.0.public_key().as_ref())
    }

    /// The proof that an honest exec-server sends after it dialled `authority`.
    pub(crate) fn proof(&self, nonce: &[u8], authority: &str) -> Proof {
        registration::proof(
            self.0.public_key().as_ref(),
            |message| self.0.sign(message).as_ref().to_vec(),
            nonce,
            authority,
            &dial_token_hash(&DIAL_TOKEN),
        )
    }
}

/// A `Register` stream.
pub(crate) struct RegisterStream {
    pub(crate) send: mpsc::Sender<RegisterRequest>,
    pub(crate) receive: Streaming<RegisterResponse>,
}

impl RegisterStream {
    /// Opens the stream on its own connection, with this `authority`, for the exec-server of
    /// [`RegistrationKey::new`]`(1)`.
    pub(crate) async fn open(relay: &TestRelay, authority: &str) -> Result<Self, Status> {
        let id = RegistrationKey::new(1).id().to_string();
        Self::open_with(relay, authority, Some(&id), [127, 0, 0, 1]).await
    }

    /// Opens the stream with this value of the exec-server id header, from this loopback address.
    pub(crate) async fn open_with(
        relay: &TestRelay,
        authority: &str,
        id: Option<&str>,
        address: [u8; 4],
    ) -> Result<Self, Status> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", relay.addr))
            .unwrap()
            .initial_stream_window_size(1_024) // Small, so that a test can fill it.
            .origin(format!("http://{authority}").parse().unwrap());
        let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
        connector.set_local_address(Some(address.into()));
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        let mut client = RelayClient::new(channel);
        let (send, requests) = mpsc::channel(8);
        let mut request = tonic::Request::new(ReceiverStream::new(requests));
        if let Some(id) = id {
            request
                .metadata_mut()
                .insert(header::EXEC_SERVER_ID, id.parse().unwrap());
        }
        let receive = within_timeout("Register", client.register(request))
            .await?
            .into_inner();
        Ok(Self { send, receive })
    }

    pub(crate) async fn next(&mut self) -> Result<register_response::Kind, Status> {
        match within_timeout("a Register message", self.receive.message()).await? {
            Some(message) => Ok(message.kind.expect("a kind")),
            None => Err(Status::ok("")),
        }
    }

    pub(crate) async fn challenge(&mut self) -> Bytes {
        match self.next().await {
            Ok(register_response::Kind::Challenge(challenge)) => challenge.nonce,
            other => panic!("{other:?} instead of a Challenge"),
        }
    }

    pub(crate) async fn prove(&self, proof: Proof) {
        let kind = Some(register_request::Kind::Proof(proof));
        self.send.send(RegisterRequest { kind }).await.unwrap();
    }
}

/// A registered exec-server.
pub(crate) struct ExecServer {
    pub(crate) id: ExecServerId,
    pub(crate) stream: RegisterStream,
    pub(crate) max_sessions: u32,
}

impl ExecServer {
    pub(crate) async fn register(relay: &TestRelay, seed: u8) -> Self {
        Self::try_register(relay, seed).await.expect("registered")
    }

    pub(crate) async fn try_register(relay: &TestRelay, seed: u8) -> Result<Self, Status> {
        Self::register_from(relay, [127, 0, 0, 1], seed).await
    }

    /// Registers from this loopback address.
    pub(crate) async fn register_from(relay: &TestRelay, address: [u8; 4], seed: u8) -> Result<Self, Status> {
        let authority = relay.addr.to_string();
        let key = RegistrationKey::new(seed);
        let mut stream =
            RegisterStream::open_with(relay, &authority, Some(&key.id().to_string()), address).await?;
        let nonce = stream.challenge().await;
        stream.prove(key.proof(&nonce, &authority)).await;
        match stream.next().await? {
            register_response::Kind::Registered(registered) => {
                assert_eq!(registered.exec_server_id, &key.id().0[..]);
                Ok(Self {
                    id: key.id(),
                    stream,
                    max_sessions: registered.max_sessions,
                })
            }
            other => panic!("{other:?} instead of Registered"),
        }
    }

    /// The next announced dial; answers pings that arrive before it.
    pub(crate) async fn incoming(&mut self) -> Incoming {
        loop {
            match self.stream.next().await.expect("an announcement") {
                register_response::Kind::Incoming(incoming) => return incoming,
                register_response::Kind::Ping(ping) => self.pong(ping.nonce).await,
                other => panic!("{other:?} instead of Incoming"),
            }
        }
    }

    pub(crate) async fn pong(&self, nonce: u64) {
        let kind = Some(register_request::Kind::Pong(Pong { nonce }));
        self.stream.send.send(RegisterRequest { kind }).await.unwrap();
    }
}

/// A relay, an exec-server and a client, each with its own connections.
pub(crate) struct TestNetwork {
    pub(crate) relay: TestRelay,
    pub(crate) exec_server: ExecServer,
    pub(crate) accepting: PeerConnection,
    pub(crate) client: PeerConnection,
}

impl TestNetwork {
    pub(crate) async fn new() -> Self {
        Self::limited(Limits::default()).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        let relay = TestRelay::limited(limits).await;
        Self {
            exec_server: ExecServer::register(&relay, 1).await,
            accepting: PeerConnection::connect(&relay).await,
            client: PeerConnection::connect(&relay).await,
            relay,
        }
    }

    /// Returns once the relay has handled everything that the client has sent so far.
    pub(crate) async fn client_round_trip(&self) {
        for _ in 0..2 {
            let call = self.client.dial(ExecServerId([9; 16]), new_session());
            assert_eq!(call.refused().await.code(), Code::NotFound);
        }
    }

    /// A spliced session: the client's side, the exec-server's side.
    pub(crate) async fn session(&mut self) -> (SplicedStream, SplicedStream) {
        let dial = self.client.dial(self.exec_server.id, new_session());
        let incoming = self.exec_server.incoming().await;
        let mut accepted = self
            .accepting
            .accept(self.exec_server.id, &incoming)
            .answered()
            .await;
        assert_eq!(&accepted.reader.noise().await[..], MESSAGE_1);
        (dial.answered().await, accepted)
    }
}

/// The retry hint of a refusal.
pub(crate) fn pushback(status: &Status) -> Option<u64> {
    status
        .metadata()
        .get(header::RETRY_PUSHBACK)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[track_caller]
pub(crate) fn assert_status(status: &Status, code: Code, expected: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(
        status.message().contains(expected),
        "{:?} does not contain {expected:?}",
        status.message()
    );
}
