//! A balancer in front of several relays, as HAProxy with `balance hdr(baton-exec-server-id)` and
//! `hash-type consistent`: each stream goes to the relay that the hash of this header names among those that are up.
//!
//! Checks find a relay that is down, is hung or drains. A relay that refuses a connection is down at once. When one
//! goes down, the connections to it are closed. There is no stick table.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use baton_proto::header::EXEC_SERVER_ID;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

use crate::network::PORT;

/// `inter`
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// `timeout check`
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// `fall` and `rise`
const CHECKS: u32 = 2;

/// `timeout connect`
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// `tune.h2.initial-window-size`
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// Streams of a connection.
const STREAMS: u32 = 1_000;

/// What the balancer knows of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// It takes no new streams. Those that it has go on.
    Draining,
    Down,
}

/// The relays, by number.
pub(crate) struct Table(Vec<(SocketAddr, watch::Sender<Health>)>);

impl Table {
    pub(crate) fn new(relays: impl IntoIterator<Item = SocketAddr>) -> Self {
        let up = |address| (address, watch::Sender::new(Health::Up));
        Self(relays.into_iter().map(up).collect())
    }

    /// Whether every relay is up.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.iter().all(|(_, health)| *health.borrow() == Health::Up)
    }

    /// The relay of an exec-server: of those that are up, the one with the greatest hash. While another relay is down,
    /// its exec-servers alone move.
    fn relay_of(&self, exec_server: &HeaderValue) -> Option<usize> {
        let up = (0..self.0.len()).filter(|relay| *self.0[*relay].1.borrow() == Health::Up);
        up.max_by_key(|relay| {
            let mut hasher = DefaultHasher::new();
            (exec_server.as_bytes(), relay).hash(&mut hasher);
            hasher.finish()
        })
    }

    fn set(&self, relay: usize, health: Health) {
        self.0[relay].1.send_if_modified(|known| {
            let is_news = *known != health;
            *known = health;
            is_news
        });
    }
}

/// Runs the balancer.
pub(crate) async fn balance(table: Arc<Table>) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    for relay in 0..table.0.len() {
        tokio::spawn(check(Arc::clone(&table), relay));
    }
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, Arc::clone(&table)));
    }
}

/// Checks one relay's health.
async fn check(table: Arc<Table>, relay: usize) {
    let (mut good, mut bad) = (0, 0);
    loop {
        sleep(CHECK_EVERY).await;
        match timeout(CHECK_TIMEOUT, health(table.0[relay].0)).await {
            Ok(Ok(StatusCode::OK)) => (good, bad) = (good + 1, 0),
            Ok(Ok(StatusCode::NOT_FOUND)) => {
                (good, bad) = (0, 0);
                table.set(relay, Health::Draining);
            }
            Ok(_) | Err(_) => (good, bad) = (0, bad + 1),
        }
        if good >= CHECKS {
            table.set(relay, Health::Up);
        }
        if bad >= CHECKS {
            table.set(relay, Health::Down);
        }
    }
}

async fn health(relay: SocketAddr) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(relay).await?;
    let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = client.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let ask = async {
        let request = Request::get(format!("http://{relay}/health")).body(Empty::new())?;
        Ok(sender.send_request(request).await?.status())
    };
    // In an order that a seed determines.
    tokio::select! {
        biased;
        answer = ask => answer,
        ended = connection => Err(ended.err().map_or_else(|| "closed".into(), Into::into)),
    }
}

type Body = Either<Incoming, Empty<Bytes>>;

/// Serves one connection of a client or of an exec-server.
async fn serve(stream: TcpStream, table: Arc<Table>) {
    let front = Arc::new(Front {
        table,
        connections: Mutex::default(),
    });
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.forward(request).await) }
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS);
    // The peer learns of an error by the end of its connection.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// One connection to the balancer, and those to relays that its streams share.
struct Front {
    table: Arc<Table>,
    connections: Mutex<HashMap<usize, SendRequest<Incoming>>>,
}

impl Front {
    async fn forward(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(exec_server) = request.headers().get(EXEC_SERVER_ID).cloned() else {
            return empty(StatusCode::BAD_REQUEST);
        };
        // Each attempt that fails takes a relay out of the table.
        while let Some(relay) = self.table.relay_of(&exec_server) {
            let Ok(mut sender) = self.connection(relay).await else {
                self.table.set(relay, Health::Down);
                continue;
            };
            return match sender.send_request(request).await {
                Ok(response) => response.map(Either::Left),
                Err(_) => empty(StatusCode::BAD_GATEWAY),
            };
        }
        empty(StatusCode::SERVICE_UNAVAILABLE)
    }

    async fn connection(&self, relay: usize) -> io::Result<SendRequest<Incoming>> {
        let mut connections = self.connections.lock().await;
        if let Some(sender) = connections.get(&relay)
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        let (address, health) = &self.table.0[relay];
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(*address)).await??;
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        client
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let shaken = client.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        let mut health = health.subscribe();
        tokio::spawn(async move {
            // `on-marked-down shutdown-sessions`
            tokio::select! {
                biased;
                _ = connection => {}
                _ = health.wait_for(|health| *health == Health::Down) => {}
            }
        });
        connections.insert(relay, sender.clone());
        Ok(sender)
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}
