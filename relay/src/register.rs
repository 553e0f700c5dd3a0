//! `Register`: an exec-server makes itself reachable.
//!
//! ```text
//! relay:       Challenge ─────────► Registered, then Incoming and Ping until the stream ends
//! exec-server:           Proof ──►               Pong
//! ```
//!
//! A key has one registration. A second one replaces the first only when the first does not answer a `Ping`: a copied
//! key cannot displace a connected exec-server, and a broken connection does not keep the exec-server from registering
//! again. Spliced sessions outlive their registration.
//!
//! The relay also pings regularly ([`pings`]): behind a balancer nothing else shows that an exec-server is gone.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod pings;
mod proof;
#[cfg(test)]
mod tests;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use baton_proto::relay::{
    Challenge, Frame, HereRequest, HereResponse, Ping, Proof, RegisterRequest, RegisterResponse,
    register_request, register_response,
};
use baton_proto::{ExecServerId, header};
use baton_rpc::relay::relay_server::Relay;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use self::pings::RegularPings;
use self::proof::{ProofError, RelayAuthorities};
use crate::RefusalReason;
use crate::connection::Connection;
use crate::headers::HeaderError;
use crate::here::here;
use crate::limits::{REGISTER_MESSAGE_BYTES, REGISTER_QUEUE, RETRY_MOVED, RETRY_SOON};
use crate::network::NetworkSlot;
use crate::refusal::{self, Refusal};
use crate::registry::{Outbound, RegisterOutcome, Registration, RegistrationEnd};
use crate::sanitized_text::SanitizedText;
use crate::state::RelayState;

/// The implementation of the generated tonic service, for one request.
pub(crate) struct Registrar {
    relay: Arc<RelayState>,
    connection: Arc<Connection>,
    /// The exec-server that the request header names; a proof of another key is refused.
    named: ExecServerId,
    authority: String,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Why a registration was refused or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterRefusal {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(
        "the request header {} names exec-server {named}, but the proven key is that of {proven}; send the id of the \
         key",
        header::EXEC_SERVER_ID
    )]
    OtherId {
        named: ExecServerId,
        proven: ExecServerId,
    },
    #[error("the first message is not a Proof; answer the Challenge with a Proof")]
    NotAProof,
    #[error("a message cannot be decoded, or is longer than {REGISTER_MESSAGE_BYTES} bytes")]
    Unreadable,
    #[error("no Proof arrived within {0:?}; try again")]
    Slow(Duration),
    #[error(
        "exec-server {0} is already registered and connected; stop the other one, or start this one with its own key"
    )]
    Taken(ExecServerId),
    #[error(
        "a newer registration of the same key has replaced this one, which did not answer a ping in time"
    )]
    Replaced,
    #[error(
        "registration limit of this relay reached, and an exec-server that was registered here before needs the slot; \
         use another relay"
    )]
    Displaced,
    #[error(
        "this relay does not list exec-server {0}; add the id on its own line to the relay's --allow-servers file"
    )]
    NotAllowed(ExecServerId),
    #[error("too many registrations from your address are in progress; try again in a moment")]
    AddressBusy,
    #[error("registration limit ({0}) of your address at this relay reached; use another relay")]
    AddressFull(usize),
    #[error("registration limit ({0}) of this relay reached; use another relay")]
    Full(usize),
    #[error("no ping of the relay was answered for {0:?}; register again")]
    Unanswered(Duration),
    #[error("the relay is shutting down; reconnect")]
    ShuttingDown,
    #[error("the relay's operating system provides no random numbers; try again later or use another relay")]
    NoRandom,
}

impl Registrar {
    pub(crate) fn new(
        relay: Arc<RelayState>,
        connection: Arc<Connection>,
        named: ExecServerId,
        authority: String,
    ) -> Self {
        Self {
            relay,
            connection,
            named,
            authority,
        }
    }
}

#[tonic::async_trait]
impl Relay for Registrar {
    type RegisterStream = Responses<RegisterResponse>;
    type DialStream = Responses<Frame>;
    type AcceptStream = Responses<Frame>;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let refused = |refusal: RegisterRefusal| refusal::status(&refusal, &self.relay.metrics);
        let names = RelayAuthorities {
            configured: &self.relay.authorities,
            local: self.connection.local,
        };
        names
            .check(&self.authority)
            .map_err(|error| refused(error.into()))?;
        // Before the challenge, so that the exec-server tries again at once.
        if self.relay.is_draining() {
            return Err(refused(RegisterRefusal::ShuttingDown));
        }
        let (outbound, responses) = mpsc::channel(REGISTER_QUEUE);
        let exchange = RegisterExchange {
            relay: self.relay.clone(),
            connection: self.connection.clone(),
            named: self.named,
            authority: self.authority.clone(),
            outbound,
        };
        tokio::spawn(exchange.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn here(&self, _: Request<HereRequest>) -> Result<Response<HereResponse>, Status> {
        here(&self.relay, self.named)
            .map(Response::new)
            .map_err(|refusal| refusal::status(&refusal, &self.relay.metrics))
    }

    // `service` routes Dial and Accept before tonic, because they are served on the HTTP body.

    async fn dial(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        Err(Status::unimplemented("served elsewhere"))
    }

    async fn accept(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::AcceptStream>, Status> {
        Err(Status::unimplemented("served elsewhere"))
    }
}

/// One `Register` stream, served by its own task.
struct RegisterExchange {
    relay: Arc<RelayState>,
    connection: Arc<Connection>,
    /// The exec-server that the request header names; a proof of another key is refused.
    named: ExecServerId,
    authority: String,
    outbound: Outbound,
}

impl RegisterExchange {
    async fn run(self, mut inbound: Streaming<RegisterRequest>) {
        let outbound = self.outbound.clone();
        let ended = tokio::select! {
            ended = self.serve_registration(&mut inbound) => ended,
            // The exec-server has reset the stream or disconnected.
            () = outbound.closed() => Ok(()),
        };
        if let Err(refusal) = ended {
            let status = refusal::status(&refusal, &self.relay.metrics);
            // Fails if the peer does not read: it then misses the reason, but its stream ends.
            let _ = outbound.try_send(Err(status));
        }
    }

    async fn serve_registration(
        &self,
        inbound: &mut Streaming<RegisterRequest>,
    ) -> Result<(), RegisterRefusal> {
        let Some(registration) = self.prove(inbound).await? else {
            return Ok(());
        };
        let slot = self.take_slot(registration).await?;
        let registration = &slot.registration;
        tracing::info!(
            exec_server = %registration.id(),
            remote = %self.connection.remote,
            authority = %SanitizedText(&self.authority),
            "registered"
        );
        let interval = self.relay.limits.ping_interval;
        let mut pings = RegularPings::new(registration.id(), interval, Instant::now());
        let mut due = pin!(sleep_until(pings.due()));
        loop {
            let message = tokio::select! {
                // A pong that has arrived counts, however late this task runs.
                biased;
                end = registration.ended() => return Err(end_refusal(end, registration.id())),
                message = inbound.message() => message,
                () = &mut due => {
                    self.ping(registration, &mut pings)?;
                    due.as_mut().reset(pings.due());
                    continue;
                }
            };
            match message {
                Ok(Some(message)) => match message.kind {
                    Some(register_request::Kind::Pong(pong)) => {
                        if !pings.pong(pong.nonce) {
                            registration.pong(pong.nonce);
                        }
                    }
                    Some(register_request::Kind::Decline(decline)) => self.relay.sessions.decline(&decline),
                    // A later version may send other messages.
                    Some(register_request::Kind::Proof(_)) | None => {}
                },
                Ok(None) => return Ok(()),
                Err(status) => return unreadable(&status).map_or(Ok(()), Err),
            }
        }
    }

    /// Sends the ping that is due, unless the one before it is unanswered.
    fn ping(&self, registration: &Registration, pings: &mut RegularPings) -> Result<(), RegisterRefusal> {
        let Some(nonce) = pings.next(Instant::now()) else {
            self.relay.metrics.registration_unanswered();
            return Err(RegisterRefusal::Unanswered(self.relay.limits.ping_interval));
        };
        if registration
            .send(register_response::Kind::Ping(Ping { nonce }))
            .is_err()
        {
            pings.not_sent();
        }
        Ok(())
    }

    /// Challenges the exec-server; `None` if it disconnected instead of answering.
    async fn prove(
        &self,
        inbound: &mut Streaming<RegisterRequest>,
    ) -> Result<Option<Registration>, RegisterRefusal> {
        let _half_open = self
            .relay
            .unproved
            .take(self.connection.network())
            .ok_or(RegisterRefusal::AddressBusy)?;
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| RegisterRefusal::NoRandom)?;
        let challenge = register_response::Kind::Challenge(Challenge {
            nonce: nonce.to_vec().into(),
        });
        let _ = self.outbound.try_send(Ok(RegisterResponse {
            kind: Some(challenge),
        }));
        let wait = self.relay.limits.handshake_timeout;
        let message = match timeout(wait, inbound.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(status)) => return unreadable(&status).map_or(Ok(None), Err),
            Err(_) => return Err(RegisterRefusal::Slow(wait)),
        };
        let Some(register_request::Kind::Proof(proof)) = message.kind else {
            return Err(RegisterRefusal::NotAProof);
        };
        let Proof {
            version,
            public_key,
            signature,
            dial_token_hash,
        } = proof;
        let proven = proof::verify(
            version,
            &public_key,
            &signature,
            &dial_token_hash,
            &nonce,
            &self.authority,
        )?;
        if proven.id != self.named {
            return Err(RegisterRefusal::OtherId {
                named: self.named,
                proven: proven.id,
            });
        }
        Ok(Some(Registration::new(proven, self.outbound.clone())))
    }

    /// Takes the key's slot in the registry; replaces a holder that does not answer a ping.
    async fn take_slot(&self, registration: Registration) -> Result<RegistrationSlot, RegisterRefusal> {
        let registration = Arc::new(registration);
        let id = registration.id();
        if !self.relay.registry.allows(id) {
            return Err(RegisterRefusal::NotAllowed(id));
        }
        let limits = &self.relay.limits;
        let slot = self.relay.registered_from.take(self.connection.network());
        // Later exec-servers of the same address do not keep out one that was registered before them.
        if slot.is_none() && !self.relay.registry.knows(id) {
            return Err(RegisterRefusal::AddressFull(limits.registrations_per_address));
        }
        let mut dead: Option<Arc<Registration>> = None;
        loop {
            match self.relay.registry.register(&registration, dead.as_ref()) {
                RegisterOutcome::Done => break,
                RegisterOutcome::Full => {
                    return Err(RegisterRefusal::Full(limits.registrations));
                }
                RegisterOutcome::Closed => return Err(RegisterRefusal::ShuttingDown),
                RegisterOutcome::Taken(holder) => {
                    if holder.answers(limits.probe_timeout).await {
                        return Err(RegisterRefusal::Taken(registration.id()));
                    }
                    dead = Some(holder);
                }
            }
        }
        if let Some(dead) = dead {
            dead.end(RegistrationEnd::Replaced);
        }
        self.relay.metrics.registered();
        Ok(RegistrationSlot {
            relay: self.relay.clone(),
            registration,
            _slot: slot,
        })
    }
}

fn end_refusal(end: RegistrationEnd, id: ExecServerId) -> RegisterRefusal {
    match end {
        RegistrationEnd::Replaced => RegisterRefusal::Replaced,
        RegistrationEnd::Displaced => RegisterRefusal::Displaced,
        RegistrationEnd::NotAllowed => RegisterRefusal::NotAllowed(id),
        RegistrationEnd::ShutDown => RegisterRefusal::ShuttingDown,
    }
}

/// The refusal of a message that cannot be decoded; `None` if the peer disconnected, which needs no answer.
fn unreadable(status: &Status) -> Option<RegisterRefusal> {
    matches!(status.code(), Code::Internal | Code::OutOfRange).then_some(RegisterRefusal::Unreadable)
}

/// A slot in the registry, released on drop, because the exchange may end at any await.
struct RegistrationSlot {
    relay: Arc<RelayState>,
    registration: Arc<Registration>,
    _slot: Option<NetworkSlot>,
}

impl Drop for RegistrationSlot {
    fn drop(&mut self) {
        self.relay.registry.unregister(&self.registration);
        self.relay.metrics.unregistered();
        tracing::info!(exec_server = %self.registration.id(), "unregistered");
    }
}

impl Refusal for RegisterRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Proof(error) => error.code(),
            Self::Header(_) | Self::OtherId { .. } | Self::NotAProof | Self::Unreadable => {
                Code::InvalidArgument
            }
            Self::Slow(_) => Code::DeadlineExceeded,
            Self::Taken(_) => Code::AlreadyExists,
            Self::Replaced => Code::Aborted,
            Self::NotAllowed(_) => Code::PermissionDenied,
            Self::AddressBusy | Self::AddressFull(_) | Self::Full(_) | Self::Displaced => {
                Code::ResourceExhausted
            }
            Self::Unanswered(_) | Self::ShuttingDown => Code::Unavailable,
            Self::NoRandom => Code::Internal,
        }
    }

    fn counts_as(&self) -> RefusalReason {
        match self {
            Self::Proof(error) => error.counts_as(),
            Self::Header(_) | Self::OtherId { .. } | Self::NotAProof | Self::Unreadable => {
                RefusalReason::Malformed
            }
            Self::Taken(_) | Self::Replaced => RefusalReason::Taken,
            Self::NotAllowed(_) => RefusalReason::NotAuthorised,
            Self::AddressBusy | Self::AddressFull(_) | Self::Full(_) | Self::Displaced => {
                RefusalReason::Limit
            }
            Self::Unanswered(_) => RefusalReason::Silent,
            Self::Slow(_) | Self::ShuttingDown | Self::NoRandom => RefusalReason::NotAccepted,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::AddressBusy => Some(RETRY_SOON),
            Self::ShuttingDown => Some(RETRY_MOVED),
            _ => None,
        }
    }
}
