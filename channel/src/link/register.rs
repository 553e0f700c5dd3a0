//! An exec-server's registration with a relay: proves the key, answers probes, passes on announced dials, and asks
//! whether the relay that a load balancer chooses has the registration.

use std::error::Error as _;
use std::time::Duration;

use baton_export::response_guard::ResponseGuard;
use baton_noise::key::ServerKeys;
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::relay::{
    Decline, HereRequest, Incoming, Pong, Proof, RegisterRequest, RegisterResponse, register_request,
    register_response,
};
use baton_proto::{ExecServerId, PROTOCOL_VERSION, header, registration};
use baton_rpc::relay::relay_client::RelayClient;
use baton_trace::text::hint;
use tokio::sync::mpsc;
use tonic::transport::Channel;
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
    /// The connection or the stream was lost, or the relay shuts down.
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

    /// What the wait before the next attempt depends on.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Relay(error) if error.may_pass() => Cause::Lost,
            Self::Lost(_) | Self::Timeout => Cause::Lost,
            Self::InUse(_) => Cause::InUse,
            Self::Relay(_) | Self::Refused(_) | Self::Ended(_) | Self::Protocol(_) => Cause::Decision,
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

/// The cause of a failed or ended registration, which determines the wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The relay shut down or cannot be reached. It, or another one, is expected back soon, and redialled fast.
    Lost,
    /// The relay has a registration of the same key. It is this exec-server's own if that answers the relay's ping, or
    /// if it was lost so recently that the relay does not know it.
    InUse,
    /// The relay itself refused or ended the registration, which asks for a longer wait.
    Decision,
}

/// An open registration. Drop ends it.
pub(crate) struct Registration {
    answers: Streaming<RegisterResponse>,
    outbox: mpsc::Sender<RegisterRequest>,
    patience: Option<Duration>,
}

/// What a registration received.
pub(crate) enum Received {
    /// A client dials.
    Incoming(Incoming),
    /// The relay pinged, and the answer is sent.
    Ping,
}

/// Asks about a registration over its connection. Through a load balancer the question reaches the relay that the
/// balancer chooses now.
pub(crate) struct HereClient {
    relay: RelayClient<ResponseGuard<Channel>>,
    id: ExecServerId,
}

/// The answer to `Here`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HereAnswer {
    /// The relay has a registration of this exec-server.
    Registered,
    /// It has none: dials reach a relay that does not know this exec-server.
    NotRegistered,
    /// A relay of an earlier version, or a proxy that does not pass the question on.
    Unsupported,
    /// No answer of a relay. Other signs tell whether the registration is lost.
    Unknown,
}

/// Declines announced dials from other tasks. Does not keep the registration open.
#[derive(Clone)]
pub(crate) struct Decliner(mpsc::WeakSender<RegisterRequest>);

impl HereClient {
    /// Takes at most [`limits::HERE_TIMEOUT`].
    pub(crate) async fn ask(&mut self) -> HereAnswer {
        let request = with_id(Request::new(HereRequest {}), self.id);
        match tokio::time::timeout(limits::HERE_TIMEOUT, self.relay.here(request)).await {
            Ok(Ok(_)) => HereAnswer::Registered,
            Ok(Err(status)) => HereAnswer::from_status(&status),
            Err(_) => HereAnswer::Unknown,
        }
    }
}

impl HereAnswer {
    fn from_status(status: &Status) -> Self {
        match status.code() {
            // tonic sets a source for a broken connection.
            _ if status.source().is_some() => Self::Unknown,
            Code::NotFound => Self::NotRegistered,
            Code::Unimplemented => Self::Unsupported,
            _ => Self::Unknown,
        }
    }
}

impl Decliner {
    /// Asks the client of an announced dial to retry after `retry_after`. Waits at most [`limits::CLOSE_TIMEOUT`] for a
    /// relay that does not read. Nothing is sent if the registration has ended: its relay has answered the client.
    pub(crate) async fn decline(&self, incoming: &Incoming, retry_after: Duration) {
        if let Some(outbox) = self.0.upgrade() {
            let request = RegisterRequest {
                kind: Some(decline(incoming, retry_after)),
            };
            let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, outbox.send(request)).await;
        }
    }
}

impl Registration {
    /// Registers over a separate connection, so that bulk data of sessions cannot delay an `Incoming`. Takes at most
    /// [`HANDSHAKE_TIMEOUT`].
    pub(crate) async fn open(url: &RelayUrl, keys: &ServerKeys) -> Result<(Self, HereClient), RegisterError> {
        tokio::time::timeout(HANDSHAKE_TIMEOUT, Self::register(url, keys))
            .await
            .map_err(|_| RegisterError::Timeout)?
    }

    async fn register(url: &RelayUrl, keys: &ServerKeys) -> Result<(Self, HereClient), RegisterError> {
        let id = exec_server_id(keys);
        let mut relay = RelayClient::new(ResponseGuard(url.connect().await?));
        let (outbox, requests) = mpsc::channel(limits::REGISTER_OUTBOX);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let answers = match relay.register(with_id(Request::new(requests), id)).await {
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
        let mut registration = Self::over(answers.into_inner(), outbox);
        registration.prove(keys, url.authority()).await?;
        Ok((registration, HereClient { relay, id }))
    }

    fn over(answers: Streaming<RegisterResponse>, outbox: mpsc::Sender<RegisterRequest>) -> Self {
        Self {
            answers,
            outbox,
            patience: None,
        }
    }

    /// The time without a ping after which the relay counts as lost; `None` if it does not ping regularly.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// Declines this registration's dials from other tasks.
    pub(crate) fn decliner(&self) -> Decliner {
        Decliner(self.outbox.downgrade())
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
        self.patience = ping_patience(registered.ping_interval_ms);
        Ok(())
    }

    /// Waits for the next announced dial or ping, and answers a ping. Not cancellation safe: a dropped call may lose an
    /// answer.
    pub(crate) async fn receive(&mut self) -> Result<Received, RegisterError> {
        loop {
            match self.next().await? {
                Some(register_response::Kind::Incoming(incoming)) => return Ok(Received::Incoming(incoming)),
                Some(register_response::Kind::Ping(ping)) => {
                    self.send(register_request::Kind::Pong(Pong { nonce: ping.nonce }))
                        .await?;
                    return Ok(Received::Ping);
                }
                Some(_) => return Err(RegisterError::Protocol("a second registration")),
                // Ignores kinds of later versions.
                None => {}
            }
        }
    }

    /// Refuses an announced dial, and asks its client to retry later.
    pub(crate) async fn decline(&mut self, incoming: &Incoming) -> Result<(), RegisterError> {
        self.send(decline(incoming, limits::DECLINE_RETRY)).await
    }

    /// Waits for the next response; `None` if its kind is unknown.
    async fn next(&mut self) -> Result<Option<register_response::Kind>, RegisterError> {
        match self.answers.message().await {
            Ok(Some(message)) => Ok(message.kind),
            // A relay that ends a registration says why; a proxy that loses its relay may not.
            Ok(None) => Err(closed()),
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
        Err(tokio::time::timeout(limits::CLOSE_TIMEOUT, status)
            .await
            .unwrap_or_else(|_| closed()))
    }
}

fn closed() -> RegisterError {
    RegisterError::Lost("it closed the stream".into())
}

/// The patience with a relay that pings at this interval; `None` if it does not ping regularly.
fn ping_patience(interval_ms: u32) -> Option<Duration> {
    let (least, greatest) = limits::PING_PATIENCE_RANGE;
    let interval = Duration::from_millis(interval_ms.into());
    (interval_ms > 0).then(|| interval.mul_f64(limits::PING_PATIENCE).clamp(least, greatest))
}

fn decline(incoming: &Incoming, retry_after: Duration) -> register_request::Kind {
    register_request::Kind::Decline(Decline {
        session_id: incoming.session_id.clone(),
        accept_token: incoming.accept_token.clone(),
        retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
    })
}

/// Adds the header by which a load balancer chooses the relay.
fn with_id<T>(mut request: Request<T>, id: ExecServerId) -> Request<T> {
    // Hex is a valid metadata value, so this cannot fail.
    if let Ok(id) = id.to_string().parse() {
        request.metadata_mut().insert(header::EXEC_SERVER_ID, id);
    }
    request
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
        let decoder = tonic_prost::ProstCodec::<RegisterRequest, RegisterResponse>::default().decoder();
        let (outbox, requests) = mpsc::channel(limits::REGISTER_OUTBOX);
        let answers = Streaming::new_response(decoder, body, http::StatusCode::OK, None, None);
        let mut registration = Registration::over(answers, outbox);
        drop(requests);
        let refused = registration.decline(&Incoming::default()).await;
        assert!(
            matches!(&refused, Err(RegisterError::Refused(said)) if said == "removed from the list"),
            "{refused:?}"
        );
    }

    #[test]
    fn the_patience_is_two_and_a_half_intervals_of_the_relays_pings_within_bounds() {
        let (least, greatest) = limits::PING_PATIENCE_RANGE;
        assert_eq!(ping_patience(0), None);
        assert_eq!(ping_patience(30_000), Some(Duration::from_secs(75)));
        assert_eq!(ping_patience(1), Some(least));
        assert_eq!(ping_patience(u32::MAX), Some(greatest));
    }

    #[test]
    fn only_a_relays_own_answer_moves_a_registration() {
        let answer = |code| HereAnswer::from_status(&Status::new(code, ""));
        assert_eq!(answer(Code::NotFound), HereAnswer::NotRegistered);
        assert_eq!(answer(Code::Unimplemented), HereAnswer::Unsupported);
        for code in [
            Code::Unavailable,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::PermissionDenied,
        ] {
            assert_eq!(answer(code), HereAnswer::Unknown, "{code:?}");
        }
        let mut broken = Status::not_found("made from a broken connection");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        assert_eq!(HereAnswer::from_status(&broken), HereAnswer::Unknown);
    }
}
