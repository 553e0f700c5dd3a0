//! `Accept`: an exec-server accepts a dial that was announced to it. The relay splices the two streams from then on.

use std::sync::Arc;
use std::time::Duration;

use baton_proto::{ExecServerId, SessionId, header};
use http::{Request, Response};
use tonic::Code;

use crate::RefusalReason;
use crate::connection::Connection;
use crate::direction::Direction;
use crate::headers::{HeaderError, grpc_content_type, id_header, token_header};
use crate::limits::RETRY_SOON;
use crate::refusal::Refusal;
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::sessions::{ExecServerSlots, PendingDialError};
use crate::splice::{OutgoingBody, pump};
use crate::state::RelayState;

/// Why an `Accept` was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptRefusal {
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The same answer for a wrong token, an unknown session and an ended one, so that guessing reveals nothing.
    #[error("no dial waits for this session id and accept token; the client may have given up")]
    NotWaiting,
    /// Sent only to a peer that presented the accept token.
    #[error(
        "the request header {} names exec-server {named}, but the dial is for {dialled}; send the id that was dialled",
        header::EXEC_SERVER_ID
    )]
    OtherExecServer {
        named: ExecServerId,
        dialled: ExecServerId,
    },
    #[error("session limit ({0}) of this connection reached; accept on another connection")]
    ConnectionFull(usize),
}

/// Serves one `Accept`.
pub(crate) fn accept(
    relay: &RelayState,
    connection: &Connection,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, AcceptRefusal> {
    let (head, body) = request.into_parts();
    let named: ExecServerId = id_header(&head.headers, header::EXEC_SERVER_ID)?;
    let id: SessionId = id_header(&head.headers, header::SESSION_ID)?;
    let token = token_header(&head.headers, header::ACCEPT_TOKEN)?;

    // Checked before the dial leaves the table, so that it can still be accepted on another connection.
    let limit = relay.limits.sessions_per_connection;
    let connection_slot = connection
        .take_session()
        .ok_or(AcceptRefusal::ConnectionFull(limit))?;
    let mut pending = relay
        .sessions
        .accept(id, &token, named)
        .map_err(|not_taken| match not_taken {
            PendingDialError::NotWaiting => AcceptRefusal::NotWaiting,
            PendingDialError::OtherExecServer(dialled) => AcceptRefusal::OtherExecServer { named, dialled },
        })?;
    pending.exec_server_slot.accepted();

    let session = pending.session;
    session.open();
    connection.begins_session();
    let slots = Arc::new(ExecServerSlots {
        exec_server: pending.exec_server_slot,
        connection: connection_slot,
    });
    let outgoing = OutgoingBody::new(session.clone(), Direction::ToExecServer).holding(slots.clone());
    let response = ResponseBody::spliced(outgoing);
    tokio::spawn(async move {
        pump(session, Direction::ToClient, body).await;
        drop(slots);
    });
    // Fails if the client has disconnected; its stream has ended the session then.
    let _ = pending.accepted.send(Ok(()));

    let mut response = Response::new(response);
    grpc_content_type(response.headers_mut());
    Ok(response)
}

impl Refusal for AcceptRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Header(_) | Self::OtherExecServer { .. } => Code::InvalidArgument,
            Self::NotWaiting => Code::PermissionDenied,
            Self::ConnectionFull(_) => Code::ResourceExhausted,
        }
    }

    fn counts_as(&self) -> RefusalReason {
        match self {
            Self::Header(_) | Self::OtherExecServer { .. } => RefusalReason::Malformed,
            Self::NotWaiting => RefusalReason::NotAuthorised,
            Self::ConnectionFull(_) => RefusalReason::Limit,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::ConnectionFull(_)).then_some(RETRY_SOON)
    }
}
