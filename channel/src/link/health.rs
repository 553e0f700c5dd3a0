//! Health checks over HTTP/2 (`GET /health`): whether a relay answers, and whether a ticket's exec-server is
//! registered.
//!
//! A check opens no session and does not reach the exec-server.

use baton_export::response_guard;
use baton_proto::{ExecServerId, header};
use data_encoding::HEXLOWER;
use http::{Request, StatusCode};
use tokio::time::timeout;
use tonic::body::Body;
use tower_service::Service as _;

use super::endpoint::{RelayError, RelayUrl, innermost};
use super::tls::roots::RelayRoots;
use crate::limits::HEALTH_TIMEOUT;
use crate::ticket::Ticket;

/// Why a relay or an exec-server is not healthy. Only the relay's certificate authenticates its answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HealthError {
    /// The relay cannot be used or reached.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The relay answers, but no exec-server with this id is registered.
    #[error(
        "the exec-server {id} is not registered with the relay at {url}; check that `baton exec-server` runs, and read its output"
    )]
    NotRegistered {
        /// The exec-server.
        id: ExecServerId,
        /// The relay.
        url: String,
    },
    /// The exec-server is registered with another dial token.
    #[error("the relay at {url} refused this ticket; use the exec-server's current one")]
    TicketRefused {
        /// The relay.
        url: String,
    },
    /// The relay takes no new sessions. A server that is no relay may give the same answer.
    #[error("the relay at {url} is shutting down (HTTP status 404); check again when it has restarted")]
    Draining {
        /// The relay.
        url: String,
    },
    /// The server is not a relay, or a relay without health checks.
    #[error(
        "{url} answered with {answer}, which is not a Baton relay's answer to a health check; check the URL, and the relay's version"
    )]
    NoRelay {
        /// The relay's URL.
        url: String,
        /// The HTTP or gRPC status.
        answer: String,
    },
    /// The connection broke.
    #[error("the connection to the relay at {url} broke: {reason}; check that the relay runs")]
    Broken {
        /// The relay.
        url: String,
        /// The system's error.
        reason: String,
    },
    /// No answer within [`HEALTH_TIMEOUT`].
    #[error("no answer from the relay at {url} within {seconds} s", seconds = HEALTH_TIMEOUT.as_secs())]
    Timeout {
        /// The relay.
        url: String,
    },
}

/// Checks that the relay at this URL answers. Takes at most [`HEALTH_TIMEOUT`]; cancellation safe.
///
/// # Errors
/// Why the check failed.
pub async fn check_relay(url: &str, roots: RelayRoots) -> Result<(), HealthError> {
    let parsed = RelayUrl::parse(url)?.with_roots(roots);
    match get(&parsed, url, "/health", &[]).await? {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => Err(HealthError::Draining { url: url.into() }),
        other => Err(no_relay(url, other)),
    }
}

/// Checks that the ticket's exec-server is registered with the ticket's relay. Takes at most [`HEALTH_TIMEOUT`];
/// cancellation safe.
///
/// # Errors
/// Why the check failed.
pub async fn check_exec_server(ticket: &Ticket, roots: RelayRoots) -> Result<(), HealthError> {
    let url = &ticket.relay_url;
    let parsed = RelayUrl::parse(url)?.with_roots(roots);
    let headers = [
        (header::EXEC_SERVER_ID, ticket.exec_server.to_string()),
        (header::DIAL_TOKEN, HEXLOWER.encode(&ticket.dial_token.0)),
    ];
    let url = baton_trace::text::hint(url);
    match get(&parsed, &url, "/health/exec-server", &headers).await? {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => Err(HealthError::NotRegistered {
            id: ticket.exec_server,
            url,
        }),
        StatusCode::FORBIDDEN => Err(HealthError::TicketRefused { url }),
        other => Err(no_relay(&url, other)),
    }
}

fn no_relay(url: &str, status: StatusCode) -> HealthError {
    HealthError::NoRelay {
        url: url.into(),
        answer: format!("HTTP status {}", status.as_u16()),
    }
}

async fn get(
    relay: &RelayUrl,
    url: &str,
    path: &'static str,
    headers: &[(&'static str, String)],
) -> Result<StatusCode, HealthError> {
    let broken = |error: tonic::transport::Error| HealthError::Broken {
        url: url.into(),
        reason: innermost(&error),
    };
    let ask = async {
        let mut channel = relay.connect().await?;
        let mut request = Request::get(relay.at(path.into()));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Body::empty())
            // Names are constants, values are hex.
            .expect("the parts of a health check form a valid request");
        std::future::poll_fn(|cx| channel.poll_ready(cx))
            .await
            .map_err(broken)?;
        let response = match channel.call(request).await {
            Ok(response) => response,
            // A relay that expects TLS closes a clear-text connection without an answer.
            Err(error) => return Err(relay.explain().await.map_or_else(|| broken(error), Into::into)),
        };
        // A relay without health checks answers with HTTP status 200 and a gRPC error.
        if let Some(status) = response_guard::status(response.headers()) {
            return Err(HealthError::NoRelay {
                url: url.into(),
                answer: format!("gRPC status {:?}", status.code()),
            });
        }
        Ok(response.status())
    };
    timeout(HEALTH_TIMEOUT, ask)
        .await
        .map_err(|_| HealthError::Timeout { url: url.into() })?
}
