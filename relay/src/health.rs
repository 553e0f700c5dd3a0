//! `GET /health`: health checks, over HTTP/2 on the relay's port.
//!
//! | path | 200 | otherwise |
//! |---|---|---|
//! | `/health` | this relay answers, and takes new sessions | 404: it drains or shuts down |
//! | `/health/exec-server` | the exec-server is registered | 400, 403 or 404 |
//!
//! 400: a header is missing or malformed. 403: wrong dial token. 404 of an exec-server: not registered.
//!
//! `/health/exec-server` takes the request headers `baton-exec-server-id` and `baton-dial-token` of `Dial`. It reveals
//! nothing that `Dial` does not reveal to the holder of the same headers. Unlike `Dial`, it does not notify the
//! exec-server.

use baton_proto::{ExecServerId, header};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::headers::{HeaderError, id_header, token_header};
use crate::response_body::ResponseBody;
use crate::state::RelayState;

/// The response to a health check, or `None` if the request is not one.
pub(crate) fn answer<B>(relay: &RelayState, request: &Request<B>) -> Option<Response<ResponseBody>> {
    if request.method() != Method::GET {
        return None;
    }
    let status = match request.uri().path() {
        // A balancer then sends new streams to other relays.
        "/health" if relay.is_draining() => StatusCode::NOT_FOUND,
        "/health" => StatusCode::OK,
        "/health/exec-server" => exec_server(relay, request.headers()).unwrap_or(StatusCode::BAD_REQUEST),
        _ => return None,
    };
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    Some(response)
}

fn exec_server(relay: &RelayState, headers: &HeaderMap) -> Result<StatusCode, HeaderError> {
    let id: ExecServerId = id_header(headers, header::EXEC_SERVER_ID)?;
    let dial_token = token_header(headers, header::DIAL_TOKEN)?;
    Ok(match relay.registry.registration(id) {
        Some(registration) if registration.dial_token_fits(&dial_token) => StatusCode::OK,
        Some(_) => StatusCode::FORBIDDEN,
        None => StatusCode::NOT_FOUND,
    })
}
