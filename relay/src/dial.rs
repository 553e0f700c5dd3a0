//! `Dial`: a client opens a session. Checked, entered as waiting, announced to the exec-server, answered once it accepts.
//!
//! The exec-server does nothing for a `Dial` that fails here; in particular no Diffie-Hellman without the dial token.
//! Dropping the future (the client reset the stream or is gone) stops the waiting.

use std::sync::{Arc, Weak};
use std::time::Duration;

use baton_proto::relay::{Incoming, register_response};
use baton_proto::{ExecServerId, SessionId, header};
use http::{Request, Response};
use hyper::body::Incoming as Body;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Code;

use crate::Refused;
use crate::body::RelayBody;
use crate::connection::Connection;
use crate::limits::{RETRY_LATER, RETRY_SOON};
use crate::refusal::Refusal;
use crate::register::SendError;
use crate::registry::{Pending, Registry, address_key};
use crate::service::{HeaderError, id_header, token_header};
use crate::session::{ClientSlots, Session};
use crate::splice::{Direction, Outgoing};

/// Why a `Dial` was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialRefusal {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(
        "no exec-server {0} is registered at this relay; start it there, or get a new ticket if it has moved"
    )]
    NotRegistered(ExecServerId),
    #[error("the dial token does not fit this exec-server; get its current ticket")]
    WrongToken,
    #[error("session id {0} is in use; draw a new random one for every dial")]
    IdInUse(SessionId),
    #[error("this exec-server has all its {0} sessions; try again when one has ended")]
    ExecServerFull(usize),
    #[error("this connection has all its {0} sessions; open another one")]
    ConnectionFull(usize),
    #[error("this relay has all its {0} sessions; try again later")]
    RelayFull(usize),
    #[error("your address has all its {0} sessions at this relay; try again when one has ended")]
    AddressFull(usize),
    #[error("too many dials wait for this exec-server; try again in a moment")]
    ExecServerBusy,
    #[error("too many dials from your address wait; try again in a moment")]
    AddressBusy,
    #[error("this exec-server does not read its announcements; try again in a moment")]
    NotReading,
    #[error("the exec-server did not accept within {0:?}; it may be overloaded or cut off, try again")]
    NotAccepted(Duration),
    #[error("the relay is shutting down; reconnect")]
    ShuttingDown,
    #[error("the relay cannot draw random numbers")]
    NoRandom,
}

/// Serves one `Dial`.
pub(crate) async fn dial(
    registry: &Arc<Registry>,
    connection: &Connection,
    request: Request<Body>,
) -> Result<Response<RelayBody>, DialRefusal> {
    let (head, body) = request.into_parts();
    let id: ExecServerId = id_header(&head.headers, header::EXEC_SERVER_ID)?;
    let session_id: SessionId = id_header(&head.headers, header::SESSION_ID)?;
    let dial_token = token_header(&head.headers, header::DIAL_TOKEN)?;

    // An id is a 128-bit hash that travels with its token: telling "not here" from "wrong token" tells a guesser nothing,
    // and tells a person what to do.
    let registration = registry.registration(id).ok_or(DialRefusal::NotRegistered(id))?;
    if !registration.dial_token_fits(&dial_token) {
        return Err(DialRefusal::WrongToken);
    }

    let limits = &registry.limits;
    let address = address_key(connection.remote.ip());
    let client_connection = connection
        .take_session()
        .ok_or(DialRefusal::ConnectionFull(limits.sessions_per_connection))?;
    let place = registry
        .sessions_of
        .take(id)
        .ok_or(DialRefusal::ExecServerFull(limits.sessions_per_exec_server))?;
    let slots = ClientSlots {
        address: registry
            .sessions_from
            .take(address)
            .ok_or(DialRefusal::AddressFull(limits.sessions_per_address))?,
        connection: client_connection,
        total: registry
            .sessions_total
            .take(())
            .ok_or(DialRefusal::RelayFull(limits.sessions))?,
    };
    // Held while this dial waits.
    let _pending_for = registry.pending_for.take(id).ok_or(DialRefusal::ExecServerBusy)?;
    let _pending_from = registry
        .pending_from
        .take(address)
        .ok_or(DialRefusal::AddressBusy)?;

    let mut accept_token = [0; 32];
    getrandom::fill(&mut accept_token).map_err(|_| DialRefusal::NoRandom)?;
    let session = Session::new(session_id, id, registry.clone(), slots);
    let (accepted, answer) = oneshot::channel();
    let waiting = Waiting {
        registry,
        session: Arc::downgrade(&session),
        id: session_id,
    };
    registry
        .wait(Pending {
            accept_token,
            place,
            response: Outgoing::new(session.clone(), Direction::ToClient),
            session,
            body,
            accepted,
        })
        .map_err(|_| DialRefusal::IdInUse(session_id))?;

    // Only now: the exec-server may accept before this task runs again.
    registration
        .send(register_response::Kind::Incoming(Incoming {
            session_id: session_id.0.to_vec().into(),
            accept_token: accept_token.to_vec().into(),
            origin: registry.origins.of(address).to_vec().into(),
        }))
        .map_err(|error| match error {
            SendError::Full => DialRefusal::NotReading,
            SendError::Gone => DialRefusal::NotRegistered(id),
        })?;
    drop(registration);

    let response = match timeout(limits.handshake_timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => return Err(DialRefusal::ShuttingDown),
        Err(_) => return Err(DialRefusal::NotAccepted(limits.handshake_timeout)),
    };
    drop(waiting);
    let mut response = Response::new(RelayBody::spliced(response));
    crate::service::grpc_content_type(response.headers_mut());
    Ok(response)
}

/// Takes the dial out of the table when it stops waiting without having been accepted.
struct Waiting<'a> {
    registry: &'a Registry,
    session: Weak<Session>,
    id: SessionId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Bound, so that it is dropped after the table's lock.
        let _pending = self.registry.give_up(&self.session, self.id);
    }
}

impl Refusal for DialRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Header(_) => Code::InvalidArgument,
            Self::NotRegistered(_) => Code::NotFound,
            Self::WrongToken => Code::PermissionDenied,
            Self::IdInUse(_) => Code::AlreadyExists,
            Self::NotAccepted(_) | Self::ShuttingDown => Code::Unavailable,
            Self::NoRandom => Code::Internal,
            _ => Code::ResourceExhausted,
        }
    }

    fn counts_as(&self) -> Refused {
        match self {
            Self::Header(_) => Refused::Malformed,
            Self::NotRegistered(_) => Refused::NotRegistered,
            Self::WrongToken => Refused::NotAuthorised,
            Self::IdInUse(_) => Refused::Taken,
            Self::NotAccepted(_) | Self::ShuttingDown | Self::NoRandom => Refused::NotAccepted,
            _ => Refused::Limit,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ExecServerFull(_) | Self::ConnectionFull(_) | Self::AddressFull(_) | Self::RelayFull(_) => {
                Some(RETRY_LATER)
            }
            Self::ExecServerBusy | Self::AddressBusy | Self::NotReading => Some(RETRY_SOON),
            _ => None,
        }
    }
}
