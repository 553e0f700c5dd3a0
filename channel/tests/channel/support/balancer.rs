//! A load balancer that chooses a relay for each HTTP/2 stream, as one that hashes a header does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use baton_channel::Network;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use tonic::body::Body;

use super::in_memory::{BUFFERED, Connections, connect};

/// The number of the relay for a stream with this path.
type Choice = Box<dyn FnMut(&str) -> usize + Send>;

/// The connections to the relays that belong to one accepted connection.
type Upstreams = tokio::sync::Mutex<HashMap<usize, SendRequest<Incoming>>>;

pub(crate) struct Balancer {
    relays: Vec<Connections>,
    choice: Mutex<Choice>,
}

impl Balancer {
    /// Chooses the first relay.
    pub(crate) fn new(relays: Vec<Connections>) -> Arc<Self> {
        Arc::new(Self {
            relays,
            choice: Mutex::new(Box::new(|_| 0)),
        })
    }

    /// Chooses the relays of later streams, by the last part of their path: the method.
    pub(crate) fn choose(&self, mut relay: impl FnMut(&str) -> usize + Send + 'static) {
        let by_path = move |path: &str| relay(path.rsplit('/').next().unwrap_or_default());
        *self.choice.lock().unwrap() = Box::new(by_path);
    }

    pub(crate) fn network(self: &Arc<Self>) -> Network {
        let balancer = Arc::clone(self);
        Network::new(move |_| {
            let (near, far) = duplex(BUFFERED);
            tokio::spawn(Arc::clone(&balancer).serve(far));
            async move { Ok(near) }
        })
    }

    async fn serve(self: Arc<Self>, connection: DuplexStream) {
        let upstreams: Arc<Upstreams> = Arc::default();
        let service = service_fn(move |request| {
            let (balancer, upstreams) = (Arc::clone(&self), Arc::clone(&upstreams));
            async move {
                let forwarded = balancer.forward(&upstreams, request).await;
                Ok::<_, Infallible>(forwarded.unwrap_or_else(|| {
                    let mut unavailable = Response::new(Body::empty());
                    *unavailable.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    unavailable
                }))
            }
        });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // Fails when the connection ends.
        let _ = http2.serve_connection(TokioIo::new(connection), service).await;
    }

    /// `None` if the chosen relay is down.
    async fn forward(&self, upstreams: &Upstreams, request: Request<Incoming>) -> Option<Response<Body>> {
        let relay = {
            let mut choice = self.choice.lock().unwrap();
            choice(request.uri().path())
        };
        let mut upstream = self.upstream(upstreams, relay).await?;
        upstream.ready().await.ok()?;
        let response = upstream.send_request(request).await.ok()?;
        Some(response.map(Body::new))
    }

    async fn upstream(&self, upstreams: &Upstreams, relay: usize) -> Option<SendRequest<Incoming>> {
        let mut upstreams = upstreams.lock().await;
        if let Some(upstream) = upstreams.get(&relay)
            && !upstream.is_closed()
        {
            return Some(upstream.clone());
        }
        let io = TokioIo::new(connect(&self.relays[relay]).ok()?);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (upstream, connection) = handshake.await.ok()?;
        tokio::spawn(connection);
        upstreams.insert(relay, upstream.clone());
        Some(upstream)
    }
}
