//! `Dial`: a client requests a session. The relay checks it, queues it for a session slot, announces it to the
//! exec-server, and answers once the exec-server accepts.
//!
//! The exec-server is not notified of a `Dial` that fails here, nor of one whose first frame has not arrived: no
//! Diffie-Hellman without the dial token, and no half-open handshake for a silent client. Dropping the future (the
//! client reset its stream or disconnected) cancels the dial.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use baton_proto::relay::{Incoming, register_response};
use baton_proto::{ExecServerId, SessionId, header};
use http::{Request, Response};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Code;

use crate::RefusalReason;
use crate::connection::Connection;
use crate::dial_queue::{QueueFull, SessionSlots};
use crate::direction::Direction;
use crate::frames::{DeframeError, SessionEnd};
use crate::headers::{HeaderError, grpc_content_type, id_header, token_header, version_header};
use crate::limits::{RETRY_LATER, RETRY_MOVED, RETRY_SOON, SESSION_BYTES};
use crate::memory_budget::MemoryAccount;
use crate::network::Network;
use crate::refusal::Refusal;
use crate::registry::SendError;
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::sessions::{PendingDial, Session, Sessions};
use crate::splice::{OutgoingBody, pump};
use crate::state::RelayState;

/// Why a `Dial` was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialRefusal {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(
        "no exec-server {0} is registered at this relay; start it, or get a new ticket if it uses another relay now"
    )]
    NotRegistered(ExecServerId),
    #[error("this is not the exec-server's current dial token; get its current ticket")]
    WrongToken,
    #[error("session id {0} is in use; draw a new random one for every dial")]
    IdInUse(SessionId),
    #[error("session limit ({0}) of this connection reached; open another connection")]
    ConnectionFull(usize),
    #[error(
        "this relay has no memory for another session of this address or exec-server; try again when one has ended"
    )]
    NoMemory,
    #[error("no complete first frame arrived within {0:?}; send Noise message 1 with the dial")]
    Silent(Duration),
    #[error(
        "the dial's stream ended before its first frame was complete; send Noise message 1 with the dial"
    )]
    Ended,
    #[error("the relay ended the dial: {0}")]
    Broken(DeframeError),
    #[error("too many dials from your address have sent no first frame; try again in a moment")]
    TooManySilent,
    #[error(
        "too many dials from your address wait for a session slot of this exec-server; try again in a moment"
    )]
    AddressQueueFull,
    #[error("too many dials wait for a session slot of this exec-server; try again in a moment")]
    ExecServerQueueFull,
    #[error("too many dials wait for a session slot of this relay; try again in a moment")]
    RelayQueueFull,
    #[error(
        "no session slot became free within {0:?}: the exec-server, your address or the relay has reached its session \
         limit; try again later"
    )]
    NoSlot(Duration),
    #[error("this exec-server does not take the dial now; try again in a moment")]
    Declined(Duration),
    #[error("this exec-server does not read announcements of dials; try again in a moment")]
    NotReading,
    #[error("the exec-server did not accept within {0:?}; it may be overloaded or disconnected; try again")]
    NotAccepted(Duration),
    #[error("the relay is shutting down; reconnect")]
    ShuttingDown,
    #[error("the relay's operating system provides no random numbers; try again later or use another relay")]
    NoRandom,
}

/// Serves one `Dial`. A relay that drains refuses it, also while it waits.
pub(crate) async fn dial(
    relay: &RelayState,
    connection: &Connection,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, DialRefusal> {
    tokio::select! {
        biased;
        () = relay.drain_begun() => Err(DialRefusal::ShuttingDown),
        answer = pair(relay, connection, request) => answer,
    }
}

/// Pairs the dial with its exec-server.
async fn pair(
    relay: &RelayState,
    connection: &Connection,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, DialRefusal> {
    let (head, body) = request.into_parts();
    let id: ExecServerId = id_header(&head.headers, header::EXEC_SERVER_ID)?;
    let session_id: SessionId = id_header(&head.headers, header::SESSION_ID)?;
    let dial_token = token_header(&head.headers, header::DIAL_TOKEN)?;
    let version = version_header(&head.headers, header::PROTOCOL_VERSION)?;

    // An id is a 128-bit hash that is only distributed together with its token. So distinct errors for an unknown id
    // and a wrong token reveal nothing to an attacker, and show a user what to do.
    let registration = relay
        .registry
        .registration(id)
        .ok_or(DialRefusal::NotRegistered(id))?;
    if !registration.dial_token_fits(&dial_token) {
        return Err(DialRefusal::WrongToken);
    }

    let limits = &relay.limits;
    let network = connection.network();
    let slot = connection
        .take_session()
        .ok_or(DialRefusal::ConnectionFull(limits.sessions_per_connection))?;
    let memory = relay
        .sessions
        .reserve(MemoryAccount::of(network, Some(id)), SESSION_BYTES)
        .map_err(|_| DialRefusal::NoMemory)?;
    let session = Session::new(session_id, id, relay.sessions.clone(), slot, memory);
    // If this function returns early, dropping the body ends the session, and thereby the pump.
    let response = OutgoingBody::new(session.clone(), Direction::ToClient);
    tokio::spawn(pump(session.clone(), Direction::ToExecServer, body));
    first_frame(relay, &session, network).await?;

    let granted = relay.dial_queue.enter(id, network)?.granted();
    let SessionSlots { client, server } = timeout(limits.waiting_timeout, granted)
        .await
        .map_err(|_| DialRefusal::NoSlot(limits.waiting_timeout))?;
    session.set_client_slot(client);

    let mut accept_token = [0; 32];
    getrandom::fill(&mut accept_token).map_err(|_| DialRefusal::NoRandom)?;
    let (accepted, answer) = oneshot::channel();
    let guard = PendingDialGuard {
        sessions: &relay.sessions,
        session: Arc::downgrade(&session),
        id: session_id,
    };
    relay
        .sessions
        .wait(PendingDial {
            accept_token,
            exec_server_slot: server,
            session: session.clone(),
            accepted,
        })
        .map_err(|_| DialRefusal::IdInUse(session_id))?;

    // Announced after the dial is in the table: the exec-server may accept before this task runs again.
    registration
        .send(register_response::Kind::Incoming(Incoming {
            session_id: session_id.0.to_vec().into(),
            accept_token: accept_token.to_vec().into(),
            origin: relay.origins.of(network).to_vec().into(),
            version,
        }))
        .map_err(|error| match error {
            SendError::Full => DialRefusal::NotReading,
            SendError::Gone => DialRefusal::NotRegistered(id),
        })?;
    drop(registration);

    let queue = session.queue(Direction::ToExecServer);
    let answered = tokio::select! {
        // The answer is polled first: after it, the waker of the queue belongs to the response body.
        biased;
        answered = timeout(limits.handshake_timeout, answer) => answered,
        end = poll_fn(|cx| queue.poll_failed(cx)) => return Err(end.into()),
    };
    match answered {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(declined))) => return Err(DialRefusal::Declined(declined.retry_after)),
        Ok(Err(_)) => return Err(DialRefusal::ShuttingDown),
        Err(_) => return Err(DialRefusal::NotAccepted(limits.handshake_timeout)),
    }
    drop(guard);
    connection.begins_session();
    let mut response = Response::new(ResponseBody::spliced(response));
    grpc_content_type(response.headers_mut());
    Ok(response)
}

/// Waits for the first frame of a dial. Only a dial without one occupies a slot of its network's silent dials.
async fn first_frame(relay: &RelayState, session: &Session, network: Network) -> Result<(), DialRefusal> {
    let queue = session.queue(Direction::ToExecServer);
    let mut first = pin!(poll_fn(|cx| queue.poll_first(cx)));
    // Lets the pump run once: the frame may have arrived with the request.
    tokio::task::yield_now().await;
    let first = match poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await {
        Poll::Ready(first) => first,
        Poll::Pending => {
            let _silent = relay
                .silent_from
                .take(network)
                .ok_or(DialRefusal::TooManySilent)?;
            let wait = relay.limits.handshake_timeout;
            timeout(wait, first)
                .await
                .map_err(|_| DialRefusal::Silent(wait))?
        }
    };
    first.map_err(DialRefusal::from)
}

/// The stream ended before the exec-server accepted.
impl From<SessionEnd> for DialRefusal {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Broken(error) => Self::Broken(error),
            SessionEnd::ShutDown => Self::ShuttingDown,
            SessionEnd::NoMemory => Self::NoMemory,
            SessionEnd::Clean | SessionEnd::Disconnected | SessionEnd::Stalled => Self::Ended,
        }
    }
}

impl From<QueueFull> for DialRefusal {
    fn from(full: QueueFull) -> Self {
        match full {
            QueueFull::Relay => Self::RelayQueueFull,
            QueueFull::ExecServer => Self::ExecServerQueueFull,
            QueueFull::Network => Self::AddressQueueFull,
        }
    }
}

/// Removes the dial from the table when it ends without having been accepted.
struct PendingDialGuard<'a> {
    sessions: &'a Sessions,
    session: Weak<Session>,
    id: SessionId,
}

impl Drop for PendingDialGuard<'_> {
    fn drop(&mut self) {
        // A binding, so that it is dropped after the table's lock is released.
        let _pending = self.sessions.give_up(&self.session, self.id);
    }
}

impl Refusal for DialRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Header(_) | Self::Ended | Self::Broken(_) => Code::InvalidArgument,
            Self::NotRegistered(_) => Code::NotFound,
            Self::WrongToken => Code::PermissionDenied,
            Self::IdInUse(_) => Code::AlreadyExists,
            Self::Silent(_) => Code::DeadlineExceeded,
            Self::NotAccepted(_) | Self::ShuttingDown => Code::Unavailable,
            Self::NoRandom => Code::Internal,
            Self::ConnectionFull(_)
            | Self::NoMemory
            | Self::TooManySilent
            | Self::AddressQueueFull
            | Self::ExecServerQueueFull
            | Self::RelayQueueFull
            | Self::NoSlot(_)
            | Self::Declined(_)
            | Self::NotReading => Code::ResourceExhausted,
        }
    }

    fn counts_as(&self) -> RefusalReason {
        match self {
            Self::Header(_) | Self::Ended | Self::Broken(_) => RefusalReason::Malformed,
            Self::NotRegistered(_) => RefusalReason::NotRegistered,
            Self::WrongToken => RefusalReason::NotAuthorised,
            Self::IdInUse(_) => RefusalReason::Taken,
            Self::Silent(_) => RefusalReason::Silent,
            Self::NotAccepted(_) | Self::ShuttingDown | Self::NoRandom => RefusalReason::NotAccepted,
            _ => RefusalReason::Limit,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ConnectionFull(_) | Self::NoMemory | Self::NoSlot(_) => Some(RETRY_LATER),
            Self::TooManySilent
            | Self::AddressQueueFull
            | Self::ExecServerQueueFull
            | Self::RelayQueueFull
            | Self::NotReading => Some(RETRY_SOON),
            Self::NotRegistered(_) | Self::ShuttingDown => Some(RETRY_MOVED),
            Self::Declined(retry_after) => Some(*retry_after),
            _ => None,
        }
    }
}
