//! Dials that a relay announces and that never complete their handshake: they do not keep out dials from another
//! origin.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::{Seed, StaticKey};
use baton_channel::limits::{
    DECLINE_RETRY, EXEC_SERVER_SESSIONS, HALF_OPEN_QUEUE, MAX_HALF_OPEN, MAX_REFUSALS, SESSION_QUEUE,
    SESSION_WAIT, UNCONFIRMED_QUEUE, UNCONFIRMED_WEIGHT, max_unconfirmed,
};
use baton_channel::ticket::Ticket;
use baton_channel::{Notice, Server, ServerError};
use baton_exec_server::ExecService;
use baton_noise::{Initiator, prologue};
use baton_proto::channel::ServerHello;
use baton_proto::registration::exec_server_id;
use baton_proto::relay::{
    Challenge, Decline, Frame, HereRequest, HereResponse, Incoming, RegisterRequest, RegisterResponse,
    Registered, register_request, register_response,
};
use baton_proto::{PROTOCOL_VERSION, SessionId, header};
use baton_relay::limits::SESSIONS_PER_EXEC_SERVER;
use baton_rpc::relay::relay_server::{Relay, RelayServer};
use baton_support::wait::eventually;
use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::testbed::within;

/// A relay that announces the dials of the test, and sends on accepted sessions only what the test sends.
#[derive(Clone, Default)]
struct AnnouncingRelay(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    registered: Option<mpsc::UnboundedSender<Result<RegisterResponse, Status>>>,
    declined: Vec<Decline>,
    accepted: HashMap<String, Accepted>,
}

/// The streams of a session: to the exec-server, and from it.
struct Accepted {
    to: mpsc::Sender<Result<Frame, Status>>,
    from: Option<Streaming<Frame>>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Relay for AnnouncingRelay {
    type RegisterStream = Responses<RegisterResponse>;
    type DialStream = Responses<Frame>;
    type AcceptStream = Responses<Frame>;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let (send, responses) = mpsc::unbounded_channel();
        let response = |kind| RegisterResponse { kind: Some(kind) };
        let challenge = Challenge {
            nonce: vec![0; 32].into(),
        };
        send.send(Ok(response(register_response::Kind::Challenge(challenge))))
            .unwrap();
        let relay = self.clone();
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            while let Some(Ok(request)) = requests.next().await {
                let mut state = relay.0.lock().unwrap();
                match request.kind {
                    Some(register_request::Kind::Proof(proof)) => {
                        let registered = Registered {
                            exec_server_id: exec_server_id(&proof.public_key).0.to_vec().into(),
                            max_sessions: 1024,
                            ping_interval_ms: 0,
                        };
                        let registered = response(register_response::Kind::Registered(registered));
                        send.send(Ok(registered)).unwrap();
                        state.registered = Some(send.clone());
                    }
                    Some(register_request::Kind::Decline(decline)) => state.declined.push(decline),
                    _ => {}
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }

    async fn here(&self, _: Request<HereRequest>) -> Result<Response<HereResponse>, Status> {
        Err(Status::unimplemented("as of an earlier version"))
    }

    async fn dial(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        Err(Status::unimplemented("the test dials"))
    }

    async fn accept(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::AcceptStream>, Status> {
        let session = request.metadata().get(header::SESSION_ID).unwrap();
        let session = session.to_str().unwrap().to_owned();
        let (to, frames) = mpsc::channel(4);
        let accepted = Accepted {
            to,
            from: Some(request.into_inner()),
        };
        self.0.lock().unwrap().accepted.insert(session, accepted);
        Ok(Response::new(Box::pin(ReceiverStream::new(frames))))
    }
}

/// A completed handshake, and the field of its message 2.
struct Visit {
    took: Duration,
    retry_after_ms: u32,
    /// Keeps the session open.
    _from: Streaming<Frame>,
}

impl AnnouncingRelay {
    async fn start() -> (Self, String) {
        let relay = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tonic::transport::Server::builder().add_service(RelayServer::new(relay.clone()));
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        (relay, url)
    }

    fn announce(&self, origin: &'static [u8]) -> SessionId {
        let session = SessionId(rand::random());
        let incoming = Incoming {
            session_id: session.0.to_vec().into(),
            accept_token: vec![7; 32].into(),
            origin: Bytes::from_static(origin),
            version: PROTOCOL_VERSION,
        };
        let kind = Some(register_response::Kind::Incoming(incoming));
        let state = self.0.lock().unwrap();
        let registered = state.registered.as_ref().unwrap();
        registered.send(Ok(RegisterResponse { kind })).unwrap();
        session
    }

    fn accepted(&self) -> usize {
        self.0.lock().unwrap().accepted.len()
    }

    fn declined(&self) -> Vec<Decline> {
        self.0.lock().unwrap().declined.clone()
    }

    /// Announces a dial from this origin and completes its handshake.
    async fn visit(&self, origin: &'static [u8], ticket: &Ticket, key: &StaticKey) -> Visit {
        let started = Instant::now();
        let session = self.announce(origin);
        let name = session.to_string();
        eventually("the dial is accepted", || {
            self.0.lock().unwrap().accepted.contains_key(&name)
        })
        .await;
        let (to, from) = {
            let mut state = self.0.lock().unwrap();
            let accepted = state.accepted.get_mut(&name).unwrap();
            (accepted.to.clone(), accepted.from.take().unwrap())
        };
        let prologue = prologue(ticket.exec_server, session);
        let (initiator, message1) = Initiator::start(key, &ticket.noise_key, &prologue).unwrap();
        let frame = Frame {
            noise: message1,
            ..Frame::default()
        };
        to.send(Ok(frame)).await.unwrap();
        let mut from = from;
        let message2 = within(from.message()).await.unwrap().unwrap().noise;
        let (_, hello) = initiator.finish(&message2).unwrap();
        Visit {
            took: started.elapsed(),
            retry_after_ms: ServerHello::decode(&hello[..]).unwrap().retry_after_ms,
            _from: from,
        }
    }
}

/// An exec-server with one client, registered at the relay.
async fn serve(url: &str, seed: &Seed) -> (Ticket, JoinHandle<Result<(), ServerError>>) {
    let allow = AllowList::only(*seed.client_key().unwrap().public(), "test", Trust::Continue);
    let (notify, mut notices) = mpsc::unbounded_channel();
    let server = Server::new(url, seed, allow)
        .unwrap()
        .on_notice(move |notice| drop(notify.send(notice)));
    let ticket = server.ticket();
    let service = ExecService::new(server.epoch()).into_server();
    let serving = tokio::spawn(server.serve(service, std::future::pending()));
    assert!(matches!(within(notices.recv()).await, Some(Notice::Registered)));
    (ticket, serving)
}

#[tokio::test]
async fn dials_of_one_origin_that_go_no_further_keep_no_other_origin_out() {
    let (relay, url) = AnnouncingRelay::start().await;
    let seed = Seed::generate().unwrap();
    let key = seed.client_key().unwrap();
    let (ticket, serving) = serve(&url, &seed).await;

    // One origin alone gets half of the handshake slots.
    for _ in 0..MAX_HALF_OPEN {
        relay.announce(b"greedy");
    }
    eventually("half of the slots are taken", || {
        relay.accepted() == MAX_HALF_OPEN / 2
    })
    .await;
    let took = relay.visit(b"modest", &ticket, &key).await.took;
    assert!(took < Duration::from_secs(2), "{took:?}");
    // Its share of the queue is half too. Further dials are declined at once.
    assert!(relay.declined().is_empty());
    for _ in 0..HALF_OPEN_QUEUE {
        relay.announce(b"greedy");
    }
    eventually("a dial is declined", || {
        relay.declined().len() >= HALF_OPEN_QUEUE / 4
    })
    .await;
    let declined = relay.declined().pop().unwrap();
    assert_eq!(declined.accept_token, vec![7; 32]);
    assert_eq!(u128::from(declined.retry_after_ms), DECLINE_RETRY.as_millis());
    let took = relay.visit(b"modest", &ticket, &key).await.took;
    assert!(took < Duration::from_secs(2), "{took:?}");
    serving.abort();
}

/// The attacker replays a client's message 1, so that its sessions count towards the client's key.
#[tokio::test]
async fn mute_sessions_of_a_key_from_one_origin_leave_sessions_to_the_key_from_another() {
    let (relay, url) = AnnouncingRelay::start().await;
    let seed = Seed::generate().unwrap();
    let key = seed.client_key().unwrap();
    let (ticket, serving) = serve(&url, &seed).await;
    let share = max_unconfirmed(EXEC_SERVER_SESSIONS) * UNCONFIRMED_WEIGHT / (UNCONFIRMED_WEIGHT + 1);
    let mut visits = Vec::new();
    while visits.len() < share {
        // As many as the origin has handshake slots. A further dial is dropped once it has waited for 5 s, which all of
        // them together take on a busy machine.
        let some = (MAX_HALF_OPEN / 2).min(share - visits.len());
        visits.extend(join_all((0..some).map(|_| relay.visit(b"mute", &ticket, &key))).await);
    }
    assert!(visits.iter().all(|visit| visit.retry_after_ms == 0));
    let (mute, own) = tokio::join!(
        relay.visit(b"mute", &ticket, &key),
        relay.visit(b"its own", &ticket, &key)
    );
    assert!(mute.retry_after_ms > 0);
    assert_eq!(own.retry_after_ms, 0);
    assert!(own.took < SESSION_WAIT / 2, "{:?}", own.took);
    serving.abort();
}

/// Otherwise the sessions of one key could fill the relay, which does not know keys, and keep others out.
#[test]
fn a_relay_has_a_session_for_every_dial_that_an_exec_server_keeps() {
    let waiting = SESSION_QUEUE + UNCONFIRMED_QUEUE;
    let kept = EXEC_SERVER_SESSIONS + MAX_HALF_OPEN + waiting + MAX_REFUSALS;
    assert_eq!(SESSIONS_PER_EXEC_SERVER, kept);
}
