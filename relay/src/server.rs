//! The connections of a relay: listening, one task per connection, and shutdown.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::admission::{Admission, ConnectionSlots};
use crate::connection::Connection;
use crate::http2::{self, Http2};
use crate::limits::{ACCEPT_PAUSE, ALLOW_SERVERS_CHECK_INTERVAL, CLOSE_GRACE, STALL_CHECK_INTERVAL};
use crate::listener::{AcceptedConnection, Listener};
use crate::state::RelayState;
use crate::{AllowedServers, Config, Drain, Metrics, Tls};

/// A relay that is bound to an address; [`Relay::serve`] runs it.
pub struct Relay<L = TcpListener> {
    listener: L,
    local_addr: SocketAddr,
    tls: Option<Tls>,
    relay: Arc<RelayState>,
}

/// The stream of a connection, with TLS or without.
type MaybeTls<S> = Either<S, Box<TlsStream<S>>>;

/// The relay could not listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; choose another address with --listen, or stop the program that uses it"
)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Relay {
    /// Listens on `address` (port 0: any free one). Connections are accepted once [`Relay::serve`] runs.
    pub async fn bind(address: SocketAddr, config: Config) -> Result<Self, BindError> {
        let error = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let local_addr = listener.local_addr().map_err(error)?;
        Ok(Self::with_listener(listener, local_addr, config))
    }
}

impl<L: Listener> Relay<L> {
    /// Accepts connections from `listener`, which listens on `local_addr`.
    pub fn with_listener(listener: L, local_addr: SocketAddr, mut config: Config) -> Self {
        Self {
            listener,
            local_addr,
            tls: config.tls.take(),
            relay: Arc::new(RelayState::new(config)),
        }
    }

    /// The address on which the relay listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The relay's counters, updated while it runs.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.relay.metrics.clone()
    }

    /// Takes this relay out of service while [`Relay::serve`] runs; for its `shutdown`.
    pub fn drain(&self) -> Drain {
        Drain::new(self.relay.clone())
    }

    /// Serves until `shutdown` resolves, then ends every session with `ABORTED` and every registration and waiting dial
    /// with `UNAVAILABLE`, and returns within 2 × [`CLOSE_GRACE`]. Open sessions have time to end if `shutdown` first
    /// [drains](Relay::drain) the relay. Dropping the future closes every connection at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self {
            mut listener,
            tls,
            relay,
            ..
        } = self;
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut stalled_check = interval(STALL_CHECK_INTERVAL);
        let mut list_check = interval(ALLOW_SERVERS_CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                _ = stalled_check.tick() => relay.sessions.sweep(Instant::now()),
                _ = list_check.tick(), if relay.registry.allow_servers.is_some() => {
                    if relay.registry.allow_servers.as_ref().is_some_and(AllowedServers::reload) {
                        relay.registry.enforce_allow_servers();
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => match Admission::of(&accepted, connections.len(), tls.is_some(), &relay) {
                        Ok(admission) => {
                            let (tls, relay, stopped) = (tls.clone(), relay.clone(), stopped.clone());
                            connections.spawn(connection(accepted, admission, tls, relay, stopped));
                        }
                        // A peer detects a closed connection sooner than one that is never answered.
                        Err(rejection) => relay.reject(&rejection, accepted.remote.ip()),
                    },
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(listener);
        relay.shut_down();
        drop(stop);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(CLOSE_GRACE * 2, drained).await.is_err() {
            tracing::info!("closing connections that did not end in time");
        }
    }
}

/// Serves one connection to its end.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    accepted: AcceptedConnection<S>,
    admission: Admission,
    tls: Option<Tls>,
    relay: Arc<RelayState>,
    mut stopped: watch::Receiver<()>,
) {
    // Boxed, because what this needs would otherwise be part of every connection's memory for as long as it is open.
    let opening = Box::pin(open(accepted, admission, tls, &relay));
    let opened = tokio::select! {
        opened = opening => opened,
        _ = stopped.changed() => return,
    };
    if let Some((mut http, connection, _slots)) = opened {
        http2::serve(&mut http, connection, relay, stopped).await;
    }
}

/// Admits a connection and does its handshakes; `None`: it is to be closed, and the reason is logged.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    accepted: AcceptedConnection<S>,
    admission: Admission,
    tls: Option<Tls>,
    relay: &RelayState,
) -> Option<(Http2<MaybeTls<S>>, Arc<Connection>, ConnectionSlots)> {
    let AcceptedConnection {
        mut stream,
        remote: peer,
        local,
    } = accepted;
    let admitted = admission.complete(&mut stream, peer, tls.is_some(), relay).await;
    let (remote, slots) = match admitted {
        Ok(admitted) => admitted,
        Err(rejection) => {
            relay.reject(&rejection, peer.ip());
            return None;
        }
    };
    let connection = Arc::new(Connection::new(
        remote,
        local,
        relay.limits.sessions_per_connection,
        relay.budget.clone(),
    ));
    // Bounds the time for which a silent peer occupies a socket.
    let wait = relay.limits.handshake_timeout;
    let stream = match tls {
        None => Either::Left(stream),
        Some(tls) => {
            let accepted = timeout(wait, tls.accept(stream)).await;
            Either::Right(Box::new(done("TLS", remote, accepted)?))
        }
    };
    let shaken = timeout(wait, http2::handshake(stream, connection.clone())).await;
    Some((done("HTTP/2", remote, shaken)?, connection, slots))
}

/// The result of a handshake; `None`: it failed, and the reason is logged.
fn done<T>(of: &str, remote: SocketAddr, ended: Result<Result<T, impl fmt::Display>, Elapsed>) -> Option<T> {
    match ended {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(error)) => tracing::debug!(%remote, "the {of} handshake failed: {error}"),
        Err(_) => tracing::debug!(%remote, "the {of} handshake timed out"),
    }
    None
}
