//! What an exec-server does when its relay falls silent, and when it asks whether it is registered. Virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_channel::allow::AllowList;
use baton_channel::key::Seed;
use baton_channel::limits::{HERE_EARLY_INTERVAL, HERE_FIRST, HERE_INTERVAL};
use baton_channel::{Notice, Server, ServerConfig};
use baton_proto::registration::exec_server_id;
use baton_proto::relay::{
    Challenge, Frame, HereRequest, HereResponse, Ping, Pong, RegisterRequest, RegisterResponse, Registered,
    register_request, register_response,
};
use baton_rpc::relay::relay_server::{Relay, RelayServer};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::in_memory::{ADDRESS, network};
use crate::support::service::Mounted;

const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A relay that only registers.
#[derive(Clone)]
struct Registrar {
    /// The answer to `Here`.
    answer: Code,
    /// The interval that it announces.
    ping_interval: Duration,
    /// The number of pings that it sends on a registration.
    pings: usize,
    registered: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Default for Registrar {
    /// Of an earlier version, which does not know `Here`.
    fn default() -> Self {
        Self {
            answer: Code::Unimplemented,
            ping_interval: Duration::ZERO,
            pings: 0,
            registered: Arc::default(),
            asked: Arc::default(),
        }
    }
}

#[tonic::async_trait]
impl Relay for Registrar {
    type RegisterStream = BoxStream<RegisterResponse>;
    type DialStream = BoxStream<Frame>;
    type AcceptStream = BoxStream<Frame>;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let (send, responses) = mpsc::channel(4);
        tokio::spawn(self.clone().serve(request.into_inner(), send));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn here(&self, _: Request<HereRequest>) -> Result<Response<HereResponse>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.answer {
            Code::Ok => Ok(Response::new(HereResponse {})),
            refused => Err(Status::new(refused, "")),
        }
    }

    async fn dial(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        Err(Status::unimplemented("nobody dials"))
    }

    async fn accept(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::AcceptStream>, Status> {
        Err(Status::unimplemented("nobody dials"))
    }
}

type Answers = mpsc::Sender<Result<RegisterResponse, Status>>;

/// Fails if the exec-server has ended the registration.
async fn respond(send: &Answers, kind: register_response::Kind) {
    let _ = send.send(Ok(RegisterResponse { kind: Some(kind) })).await;
}

impl Registrar {
    async fn serve(self, mut requests: Streaming<RegisterRequest>, send: Answers) {
        let nonce = vec![0; 32].into();
        respond(&send, register_response::Kind::Challenge(Challenge { nonce })).await;
        let Some(Ok(RegisterRequest {
            kind: Some(register_request::Kind::Proof(proof)),
        })) = requests.next().await
        else {
            return;
        };
        let registered = Registered {
            exec_server_id: exec_server_id(&proof.public_key).0.to_vec().into(),
            max_sessions: 64,
            ping_interval_ms: self.ping_interval.as_millis().try_into().unwrap(),
        };
        respond(&send, register_response::Kind::Registered(registered)).await;
        self.registered.fetch_add(1, Ordering::Relaxed);
        for nonce in 0..self.pings as u64 {
            sleep(PING_INTERVAL).await;
            respond(&send, register_response::Kind::Ping(Ping { nonce })).await;
            let pong = requests.next().await;
            let expected = register_request::Kind::Pong(Pong { nonce });
            assert!(
                matches!(&pong, Some(Ok(request)) if request.kind.as_ref() == Some(&expected)),
                "{pong:?}"
            );
        }
        while let Some(Ok(_)) = requests.next().await {}
    }

    /// Starts the relay and an exec-server, and waits until it is registered.
    async fn start(&self) -> mpsc::UnboundedReceiver<Notice> {
        let (connections, accepted) = mpsc::unbounded_channel();
        let incoming = UnboundedReceiverStream::new(accepted).map(Ok::<_, std::io::Error>);
        let served = tonic::transport::Server::builder().add_service(RelayServer::new(self.clone()));
        tokio::spawn(served.serve_with_incoming(incoming));
        let config = ServerConfig {
            network: Some(network(connections)),
            ..ServerConfig::default()
        };
        let (notify, mut notices) = mpsc::unbounded_channel();
        let url = format!("http://{ADDRESS}");
        let server = Server::with_config(&url, &Seed::generate().unwrap(), AllowList::default(), config)
            .unwrap()
            .on_notice(move |notice| drop(notify.send(notice)));
        tokio::spawn(server.serve(Mounted::echo(), std::future::pending()));
        let registered = notices.recv().await;
        assert!(matches!(registered, Some(Notice::Registered)), "{registered:?}");
        notices
    }

    fn registered(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn an_exec_server_registers_anew_75_seconds_after_the_last_ping_of_its_relay() {
    let relay = Registrar {
        ping_interval: PING_INTERVAL,
        pings: 20,
        ..Registrar::default()
    };
    let mut notices = relay.start().await;
    sleep(PING_INTERVAL * 20).await;
    let last_ping = Instant::now();
    assert_eq!(relay.registered(), 1);
    let lost = timeout(PING_INTERVAL * 4, notices.recv())
        .await
        .expect("noticed")
        .unwrap();
    let waited = last_ping.elapsed();
    assert!((waited.as_secs_f64() - 75.0).abs() < 1.0, "{waited:?}");
    let Notice::Retrying(error, wait) = lost else {
        panic!("{lost:?}");
    };
    assert!(error.to_string().contains("no ping for 75 s"), "{error}");
    assert!(wait < Duration::from_millis(200), "{wait:?}");
    let registered = notices.recv().await;
    assert!(matches!(registered, Some(Notice::Registered)), "{registered:?}");
    assert_eq!(relay.registered(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_announces_no_pings_is_not_expected_to_ping() {
    let relay = Registrar::default();
    let mut notices = relay.start().await;
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(relay.registered(), 1);
    assert!(notices.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_relay_of_an_earlier_version_is_asked_once_and_one_that_knows_the_question_is_asked_again() {
    for (ping_interval, pings, expected) in [(Duration::ZERO, 0, 1..=1), (PING_INTERVAL, 20, 55..=70)] {
        let relay = Registrar {
            ping_interval,
            pings,
            ..Registrar::default()
        };
        let mut notices = relay.start().await;
        sleep(HERE_INTERVAL * 55).await;
        assert!(expected.contains(&relay.asked()), "{}", relay.asked());
        assert_eq!(relay.registered(), 1);
        assert!(notices.try_recv().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_is_asked_soon_after_the_registration_until_it_has_it_and_no_early_answer_moves_anything() {
    for (answer, asked_early) in [(Code::Ok, 1..=1), (Code::NotFound, 8..=9)] {
        let relay = Registrar {
            answer,
            ping_interval: PING_INTERVAL,
            ..Registrar::default()
        };
        let mut notices = relay.start().await;
        sleep(HERE_FIRST * 2).await;
        assert_eq!(relay.asked(), 1);
        sleep(HERE_EARLY_INTERVAL * 8).await;
        assert!(asked_early.contains(&relay.asked()), "{}", relay.asked());
        assert_eq!(relay.registered(), 1);
        assert!(notices.try_recv().is_err());
        sleep(HERE_INTERVAL / 2).await;
        let moved = usize::from(answer == Code::NotFound);
        assert_eq!(relay.registered(), 1 + moved);
    }
}
