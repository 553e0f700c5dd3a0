//! An exec-server's registration with a relay: proves the key, answers probes, passes on announced dials.

use std::error::Error as _;

use baton_export::response_guard::ResponseGuard;
use baton_noise::key::ServerKeys;
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::relay::{
    Decline, Incoming, Pong, Proof, RegisterRequest, register_request, register_response,
};
use baton_proto::{ExecServerId, PROTOCOL_VERSION, header, registration};
use baton_rpc::relay::relay_client::RelayClient;
use baton_trace::text::hint;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status, Streaming};

use super::endpoint::{RelayError, RelayUrl, innermost};
use crate::limits;

/// Why an exec-server is not registered. Reasons from the relay are unauthenticated hints.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The relay cannot be used or reached.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// Another process holds this registration.
    #[error(
        "another exec-server with this key is registered and alive (the relay says: {0}); give each its own --key"
    )]
    InUse(String),
    /// The relay refuses this exec-server's registration.
    #[error("the relay refused the registration (it says: {0})")]
    Refused(String),
    /// The relay ended the registration, or is at its limit.
    #[error("the registration ended (the relay says: {0})")]
    Ended(String),
    /// The connection was lost, or the relay shuts down.
    #[error("the connection to the relay was lost ({0})")]
    Lost(String),
    /// The relay does not speak our protocol.
    #[error("the relay sent {0}: it is not a Baton relay of this version")]
    Protocol(&'static str),
    /// No answer within [`HANDSHAKE_TIMEOUT`].
    #[error("no answer from the relay within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
}

impl RegisterError {
    /// Whether a retry is useless without a change of configuration. Before the first registration the owner has to fix
    /// the cause. After it the cause may be temporary, and the server goes on.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Relay(error) => error.is_permanent(),
            Self::Refused(_) => true,
            _ => false,
        }
    }

    /// Whether the relay itself refused or ended the registration, which asks for a longer wait. A relay that shut down
    /// or cannot be reached is expected back soon, and redialled fast.
    pub(crate) fn is_relay_decision(&self) -> bool {
        match self {
            Self::Relay(error) => !error.may_pass(),
            Self::InUse(_) | Self::Refused(_) | Self::Ended(_) | Self::Protocol(_) => true,
            Self::Lost(_) | Self::Timeout => false,
        }
    }

    fn from_status(status: &Status) -> Self {
        // tonic sets a source for a broken connection; a status from the peer has none.
        if let Some(source) = status.source() {
            return Self::Lost(innermost(source));
        }
        let said = hint(status.message());
        match status.code() {
            // Sent by a relay that shuts down, and by a proxy whose relay is down.
            Code::Unavailable => Self::Lost(said),
            Code::AlreadyExists => Self::InUse(said),
            Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument => Self::Refused(said),
            _ => Self::Ended(said),
        }
    }
}

/// An open registration. Drop ends it.
pub(crate) struct Registration {
    answers: Streaming<baton_proto::relay::RegisterResponse>,
    outbox: mpsc::Sender<RegisterRequest>,
}

impl Registration {
    /// Registers over a separate connection, so that bulk data of sessions cannot delay an `Incoming`. Takes at most
    /// [`HANDSHAKE_TIMEOUT`].
    pub(crate) async fn open(url: &RelayUrl, keys: &ServerKeys) -> Result<Self, RegisterError> {
        tokio::time::timeout(HANDSHAKE_TIMEOUT, Self::register(url, keys))
            .await
            .map_err(|_| RegisterError::Timeout)?
    }

    async fn register(url: &RelayUrl, keys: &ServerKeys) -> Result<Self, RegisterError> {
        let mut relay = RelayClient::new(ResponseGuard(url.connect().await?));
        let (outbox, requests) = mpsc::channel(limits::REGISTER_OUTBOX);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut request = Request::new(requests);
        // Hex is a valid metadata value, so this cannot fail.
        if let Ok(id) = exec_server_id(keys).to_string().parse() {
            request.metadata_mut().insert(header::EXEC_SERVER_ID, id);
        }
        let answers = match relay.register(request).await {
            Ok(answers) => answers,
            Err(status) => {
                // The connection broke before the relay answered: it may expect TLS.
                let broke = status.source().is_some();
                return Err(match url.explain().await {
                    Some(error) if broke => error.into(),
                    _ => RegisterError::from_status(&status),
                });
            }
        };
        let mut registration = Self {
            answers: answers.into_inner(),
            outbox,
        };
        registration.prove(keys, url.authority()).await?;
        Ok(registration)
    }

    /// Answers the relay's challenge. The signature covers `authority`, the relay's `host:port` as dialled, so that the
    /// relay cannot use it to register with another relay.
    async fn prove(&mut self, keys: &ServerKeys, authority: &str) -> Result<(), RegisterError> {
        let Some(register_response::Kind::Challenge(challenge)) = self.next().await? else {
            return Err(RegisterError::Protocol("something else than a challenge"));
        };
        let dial_token_hash = registration::dial_token_hash(&keys.dial_token.0);
        let message = registration::signed_message(&challenge.nonce, authority, &dial_token_hash);
        let proof = Proof {
            version: PROTOCOL_VERSION,
            public_key: keys.registration.public().to_vec().into(),
            signature: keys.registration.sign(&message).into(),
            dial_token_hash: dial_token_hash.to_vec().into(),
        };
        self.send(register_request::Kind::Proof(proof)).await?;
        let Some(register_response::Kind::Registered(registered)) = self.next().await? else {
            return Err(RegisterError::Protocol("something else than a registration"));
        };
        let expected = exec_server_id(keys);
        if registered.exec_server_id[..] != expected.0 {
            return Err(RegisterError::Protocol("another id than the key's"));
        }
        Ok(())
    }

    /// Waits for the next announced dial, and answers probes. Not cancellation safe: a dropped call may lose an answer.
    pub(crate) async fn incoming(&mut self) -> Result<Incoming, RegisterError> {
        loop {
            match self.next().await? {
                Some(register_response::Kind::Incoming(incoming)) => return Ok(incoming),
                Some(register_response::Kind::Ping(ping)) => {
                    self.send(register_request::Kind::Pong(Pong { nonce: ping.nonce }))
                        .await?;
                }
                Some(_) => return Err(RegisterError::Protocol("a second registration")),
                // Ignores kinds of later versions.
                None => {}
            }
        }
    }

    /// Refuses an announced dial, and asks its client to retry later.
    pub(crate) async fn decline(&mut self, incoming: Incoming) -> Result<(), RegisterError> {
        let decline = Decline {
            session_id: incoming.session_id,
            accept_token: incoming.accept_token,
            retry_after_ms: u32::try_from(limits::DECLINE_RETRY.as_millis()).unwrap_or(u32::MAX),
        };
        self.send(register_request::Kind::Decline(decline)).await
    }

    /// Waits for the next response; `None` if its kind is unknown.
    async fn next(&mut self) -> Result<Option<register_response::Kind>, RegisterError> {
        match self.answers.message().await {
            Ok(Some(message)) => Ok(message.kind),
            Ok(None) => Err(RegisterError::Ended("it closed the stream".into())),
            Err(status) => Err(RegisterError::from_status(&status)),
        }
    }

    /// Sends a request. If the relay has closed the stream, the error is the status that it closed it with.
    async fn send(&mut self, kind: register_request::Kind) -> Result<(), RegisterError> {
        let request = RegisterRequest { kind: Some(kind) };
        if self.outbox.send(request).await.is_ok() {
            return Ok(());
        }
        let status = async {
            loop {
                if let Err(error) = self.next().await {
                    return error;
                }
            }
        };
        let closed = || RegisterError::Ended("it closed the stream".into());
        Err(tokio::time::timeout(limits::CLOSE_TIMEOUT, status)
            .await
            .unwrap_or_else(|_| closed()))
    }
}

/// Derives the exec-server's id from its keys.
pub(crate) fn exec_server_id(keys: &ServerKeys) -> ExecServerId {
    registration::exec_server_id(keys.registration.public())
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::StreamBody;
    use tonic::codec::Codec as _;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_the_relay_closed_is_reported_with_its_status() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("7"));
        trailers.insert("grpc-message", HeaderValue::from_static("removed from the list"));
        let frames = [Ok::<_, Infallible>(http_body::Frame::<Bytes>::trailers(trailers))];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let decoder =
            tonic_prost::ProstCodec::<RegisterRequest, baton_proto::relay::RegisterResponse>::default()
                .decoder();
        let (outbox, requests) = mpsc::channel(limits::REGISTER_OUTBOX);
        let mut registration = Registration {
            answers: Streaming::new_response(decoder, body, http::StatusCode::OK, None, None),
            outbox,
        };
        drop(requests);
        let refused = registration.decline(Incoming::default()).await;
        assert!(
            matches!(&refused, Err(RegisterError::Refused(said)) if said == "removed from the list"),
            "{refused:?}"
        );
    }
}
