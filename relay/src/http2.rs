//! One HTTP/2 connection: its requests, each in its own task, and its shutdown.
//!
//! This uses h2 directly instead of hyper's server, to bound memory. hyper returns a stream's window as soon as its
//! body was polled, so backpressure would have to leave bytes in h2, where one byte in its own frame takes 300 bytes of
//! memory. With h2 the relay empties a body at once, stores the bytes compactly, and returns the window when they are
//! forwarded.

mod frame_guard;
mod response;

use std::pin::pin;
use std::sync::Arc;

use baton_proto::limits::{MAX_SESSIONS, OUTER_CONNECTION_WINDOW, OUTER_STREAM_WINDOW};
use h2::server::Builder;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use self::frame_guard::FrameGuard;
use crate::connection::Connection;
use crate::frames::Rope;
use crate::limits::{
    CLOSE_GRACE, EXTRA_STREAMS, FRAME_BYTES, HEADER_LIST_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    SEND_BUFFER_BYTES, SMALL_FRAME_BUDGET,
};
use crate::service::RelayService;
use crate::state::RelayState;

/// A connection whose handshake is done.
pub(crate) type Http2<S> = h2::server::Connection<FrameGuard<S>, Rope>;

/// Performs the handshake. It has no timeout; the caller sets one.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    connection: Arc<Connection>,
) -> Result<Http2<S>, h2::Error> {
    builder().handshake(FrameGuard::new(io, connection)).await
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    http: &mut Http2<S>,
    connection: Arc<Connection>,
    relay: Arc<RelayState>,
    mut stopped: watch::Receiver<()>,
) {
    let remote = connection.remote;
    let idle_time = relay.limits.connection_idle;
    let mut dead = pin!(keep_alive(http.ping_pong()));
    let service = RelayService {
        relay,
        connection: connection.clone(),
    };
    let mut idle_check = interval(idle_time);
    let mut mark = None;
    loop {
        tokio::select! {
            // A ping that is due is written together with what waits, and not before or after it by chance.
            biased;
            _ = stopped.changed() => break,
            () = &mut dead => return tracing::debug!(%remote, "the peer does not answer pings"),
            goes_on = answer_next(http, &service) => if !goes_on {
                return;
            },
            _ = idle_check.tick() => {
                let now = connection.idle_mark();
                if now.is_some() && now == mark {
                    break;
                }
                mark = now;
            }
        }
    }
    http.graceful_shutdown();
    let rest = async { while answer_next(http, &service).await {} };
    let _ = timeout(CLOSE_GRACE, rest).await;
}

/// Answers the next request in a task; `false` when the connection has ended. Drives the connection until then.
async fn answer_next<S>(http: &mut Http2<S>, service: &RelayService) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match http.accept().await {
        Some(Ok((request, respond))) => {
            tokio::spawn(response::answer(service.clone(), request, respond));
            true
        }
        Some(Err(error)) => {
            tracing::debug!(remote = %service.connection.remote, "connection failed: {error}");
            false
        }
        None => false,
    }
}

/// Resolves when the peer does not answer a ping in time.
async fn keep_alive(ping: Option<PingPong>) {
    if let Some(mut ping) = ping {
        loop {
            sleep(KEEPALIVE_INTERVAL).await;
            match timeout(KEEPALIVE_TIMEOUT, ping.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection has ended; `answer_next` reports that.
                Ok(Err(_)) => break,
                Err(_) => return,
            }
        }
    }
    std::future::pending().await
}

/// HTTP/2 with the relay's limits.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(OUTER_STREAM_WINDOW)
        .initial_connection_window_size(OUTER_CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_SESSIONS + EXTRA_STREAMS)
        .max_frame_size(FRAME_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES)
        .data_frame_budget(SMALL_FRAME_BUDGET);
    builder
}
