//! From a ticket to an established session: connect, `Dial` with Noise message 1, wait to be paired, read message 2.

use std::sync::Arc;
use std::time::Duration;

use baton_export::clock;
use baton_mux::{Mux, Role};
use baton_noise::key::StaticKey;
use baton_noise::{Endpoint, Initiator, RekeyPolicy, Session, prologue};
use baton_proto::channel::ServerHello;
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::{Epoch, Features, PROTOCOL_VERSION, SessionId, header};
use baton_trace::clock::ClockSample;
use baton_trace::outcome::StartFailure;
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use baton_trace::text::hint;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use prost::Message;
use tonic::{Code, Status};

use super::endpoint::{RelayError, RelayUrl};
use super::network::Network;
use super::stream::{OuterStream, StreamOpenError};
use super::tls::roots::RelayRoots;
use crate::allow::Standing;
use crate::limits;
use crate::outer::OuterError;
use crate::service::SessionError;
use crate::service::established::Established;
use crate::service::incoming;
use crate::service::record::ConnectTimes;
use crate::service::session_state::SessionState;
use crate::ticket::Ticket;

/// Why a dial failed. Reasons from the relay are unauthenticated hints, and the messages mark them so.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The relay cannot be used or reached.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// No exec-server with the ticket's id is registered.
    #[error(
        "the exec-server is not connected to the relay (the relay says: {hint}); is `baton exec-server` running?"
    )]
    NotRegistered {
        /// The relay's message.
        hint: String,
        /// How long it asks to wait, in milliseconds, for an exec-server that is changing its relay.
        retry_ms: Option<u64>,
    },
    /// The relay refused the ticket's dial token.
    #[error("the relay refused this ticket (it says: {0}); ask for the exec-server's current ticket")]
    TicketRefused(String),
    /// A limit of the relay is reached.
    #[error("the relay is at a limit (it says: {hint}); try again{}", .retry_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default())]
    Busy {
        /// The relay's message.
        hint: String,
        /// How long it asks to wait, in milliseconds.
        retry_ms: Option<u64>,
    },
    /// The exec-server, whose key is proven, has no session left for this client's key.
    #[error(
        "the exec-server has no session left for this key; try again in {retry_ms} ms, or end others of this key"
    )]
    NoSession {
        /// How long it asks to wait, in milliseconds.
        retry_ms: u32,
    },
    /// The connection broke or was silent.
    #[error("the connection to the relay broke: {0}")]
    Broken(String),
    /// The relay shuts down, or the exec-server did not take the session in time.
    #[error("the relay did not connect us (it says: {0})")]
    Unavailable(String),
    /// The relay refused for another reason, or the server is not a relay.
    #[error("the relay did not connect us (it says: {0})")]
    Refused(String),
    /// Message 2 did not arrive or did not verify.
    #[error("the server does not hold the key in this ticket, or the relay altered the handshake")]
    Handshake,
    /// The exec-server cannot read message 1 and speaks another protocol version, as the relay reports.
    #[error(
        "the exec-server speaks protocol version {0}, this client {PROTOCOL_VERSION}: upgrade {older} (the relay reports \
         this, and nothing authenticates it)",
        older = if *.0 > PROTOCOL_VERSION { "this client" } else { "the exec-server" }
    )]
    OtherVersion(u32),
    /// Message 2 verified, but its payload does not conform to the protocol.
    #[error(
        "the exec-server holds the key in this ticket, but {0} in its message 2: upgrade the older of it and this client"
    )]
    Hello(&'static str),
    /// A step took longer than [`limits::PAIRING_TIMEOUT`] or [`HANDSHAKE_TIMEOUT`].
    #[error("no answer from {0} in time")]
    Timeout(&'static str),
    /// The channel's `connect_timeout` expired before any attempt failed.
    #[error(
        "no session with the exec-server within {0:?}: allow more time, or check that relay and exec-server run"
    )]
    NotInTime(Duration),
    /// The random generator failed, or the local key is unusable.
    #[error("cannot start a handshake: bad local key, or no randomness from the operating system")]
    Local,
}

impl ConnectError {
    /// Why a command was not started for want of a session.
    pub fn start_failure(&self) -> StartFailure {
        match self {
            Self::Relay(_)
            | Self::Broken(_)
            | Self::Refused(_)
            | Self::Handshake
            | Self::Timeout(_)
            | Self::NotInTime(_)
            | Self::Unavailable(_) => StartFailure::NotConnected,
            Self::NotRegistered { .. } => StartFailure::Unavailable,
            Self::TicketRefused(_) => StartFailure::TicketRefused,
            Self::Busy { .. } | Self::NoSession { .. } => StartFailure::ResourceLimit,
            Self::OtherVersion(_) | Self::Hello(_) => StartFailure::Incompatible,
            Self::Local => StartFailure::Invalid,
        }
    }

    pub(super) async fn from_open(error: StreamOpenError, url: &RelayUrl) -> Self {
        // The connection broke before the relay answered: it may expect TLS.
        if let StreamOpenError::Connection(_) = error
            && let Some(error) = url.explain().await
        {
            return error.into();
        }
        let status = match error {
            StreamOpenError::Refused(status) => status,
            StreamOpenError::Connection(why) => return Self::Broken(hint(&why)),
            other => return Self::Refused(hint(&other.to_string())),
        };
        let said = hint(status.message());
        match status.code() {
            Code::NotFound => Self::NotRegistered {
                hint: said,
                retry_ms: retry_ms(&status),
            },
            Code::PermissionDenied | Code::Unauthenticated => Self::TicketRefused(said),
            Code::ResourceExhausted => Self::Busy {
                hint: said,
                retry_ms: retry_ms(&status),
            },
            Code::Unavailable | Code::Aborted | Code::DeadlineExceeded => Self::Unavailable(said),
            _ => Self::Refused(said),
        }
    }

    /// Whether a later attempt can succeed. [`Handshake`](Self::Handshake) counts as permanent: it cannot be
    /// distinguished from an exec-server with another key.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Relay(error) => error.may_pass(),
            Self::NotRegistered { .. }
            | Self::Busy { .. }
            | Self::NoSession { .. }
            | Self::Broken(_)
            | Self::Unavailable(_)
            | Self::Timeout(_) => true,
            Self::TicketRefused(_)
            | Self::Refused(_)
            | Self::Handshake
            | Self::OtherVersion(_)
            | Self::Hello(_)
            | Self::NotInTime(_)
            | Self::Local => false,
        }
    }

    /// The wait that a relay or exec-server at its limit asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_ms, .. } => Some(Duration::from_millis(retry_ms.unwrap_or(0))),
            Self::NoSession { retry_ms } => Some(Duration::from_millis((*retry_ms).into())),
            _ => None,
        }
    }

    /// The gRPC status of a call that fails for this reason.
    pub(crate) fn to_status(self: &Arc<Self>) -> Status {
        let code = match **self {
            Self::TicketRefused(_) => Code::PermissionDenied,
            Self::Busy { .. } | Self::NoSession { .. } => Code::ResourceExhausted,
            Self::Timeout(_) | Self::NotInTime(_) => Code::DeadlineExceeded,
            Self::Local | Self::Relay(RelayError::Url(_)) => Code::InvalidArgument,
            Self::Relay(ref error) if error.is_certificate() => Code::Unauthenticated,
            Self::Handshake => Code::Unauthenticated,
            Self::OtherVersion(_) | Self::Hello(_) => Code::FailedPrecondition,
            _ => Code::Unavailable,
        };
        let mut status = Status::new(code, self.to_string());
        status.set_source(Arc::clone(self) as Arc<dyn std::error::Error + Send + Sync>);
        status
    }
}

fn retry_ms(status: &Status) -> Option<u64> {
    status
        .metadata()
        .get(header::RETRY_PUSHBACK)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Decodes the payload of message 2.
fn read_hello(payload: Bytes) -> Result<(Epoch, ServerHello), ConnectError> {
    let hello = ServerHello::decode(payload).map_err(|_| ConnectError::Hello("there is no ServerHello"))?;
    let epoch = Epoch::try_from(&hello.epoch[..]).map_err(|_| ConnectError::Hello("there is no epoch"))?;
    if hello.version < PROTOCOL_VERSION {
        return Err(ConnectError::Hello("the version is below that of the handshake"));
    }
    Ok((epoch, hello))
}

/// How the client reaches and authenticates the relay.
#[derive(Clone)]
pub(crate) struct RelayOptions {
    /// Trust roots for `https`.
    pub(crate) roots: RelayRoots,
    /// `None` is TCP.
    pub(crate) network: Option<Network>,
}

/// Connects, completes the handshake, and starts the session's reader and timer. [`limits::PAIRING_TIMEOUT`] bounds the
/// pairing, including the wait in the relay's queue, and [`HANDSHAKE_TIMEOUT`] the wait for message 2.
pub(crate) async fn dial(
    ticket: &Ticket,
    key: &Arc<StaticKey>,
    rekey: RekeyPolicy,
    recorder: Recorder,
    options: RelayOptions,
) -> Result<(Arc<SessionState>, ConnectTimes), ConnectError> {
    let started = clock::now();
    let url = RelayUrl::parse(&ticket.relay_url)?
        .with_roots(options.roots)
        .over(options.network);
    let mut channel = url.connect().await?;
    let connected = clock::now();

    let mut session = [0; 16];
    getrandom::fill(&mut session).map_err(|_| ConnectError::Local)?;
    let session = SessionId(session);
    let prologue = prologue(ticket.exec_server, session);
    let (initiator, message1) =
        Initiator::start(key, &ticket.noise_key, &prologue).map_err(|_| ConnectError::Local)?;
    let shared = SessionState::new(recorder);
    shared.send_handshake(message1);
    let t0 = unix_now_ns();
    let headers = [
        (header::EXEC_SERVER_ID, ticket.exec_server.to_string()),
        (header::SESSION_ID, session.to_string()),
        (header::DIAL_TOKEN, HEXLOWER.encode(&ticket.dial_token.0)),
        (header::PROTOCOL_VERSION, PROTOCOL_VERSION.to_string()),
    ];
    let opening = OuterStream::open(&mut channel, url.method("Dial"), &headers, &shared);
    let opened = tokio::time::timeout(limits::PAIRING_TIMEOUT, opening)
        .await
        .map_err(|_| ConnectError::Timeout("the relay"))?;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return Err(ConnectError::from_open(error, &url).await),
    };
    let paired = clock::now();

    let message2 = tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.message())
        .await
        .map_err(|_| ConnectError::Timeout("the exec-server"))?
        .map_err(|error| match error {
            StreamOpenError::Connection(why) => ConnectError::Broken(hint(&why)),
            StreamOpenError::Outer(OuterError::OtherVersion(version)) if version != PROTOCOL_VERSION => {
                ConnectError::OtherVersion(version)
            }
            // An exec-server that cannot decrypt message 1 closes the stream without a reason.
            _ => ConnectError::Handshake,
        })?;
    let t3 = unix_now_ns();
    let (transport, payload) = initiator.finish(&message2).map_err(|_| ConnectError::Handshake)?;
    let (epoch, hello) = read_hello(payload)?;
    if hello.retry_after_ms > 0 {
        shared.finish(SessionError::Closed);
        tokio::spawn(async move {
            incoming::read(&shared, stream.body, stream.deframer, drop).await;
            drop(channel);
        });
        return Err(ConnectError::NoSession {
            retry_ms: hello.retry_after_ms,
        });
    }
    let established = clock::now();
    let sample = ClockSample {
        t0,
        t1: hello.received_unix_ns,
        t2: hello.sent_unix_ns,
        t3,
    };
    let end = Endpoint::Client {
        key: Arc::clone(key),
        exec_server: ticket.noise_key,
    };
    let session = Session::new(transport, end, prologue, rekey, established);
    let mut mux = Mux::new(Role::Client, established);
    mux.set_peer_window(hello.window);
    mux.set_peer(hello.version, Features::from_bits(hello.features));
    // A client has no allow-list: the ticket pins the exec-server's key. Only an exec-server consults this, at a rekey.
    let session = Established::new(session, mux, epoch, Box::new(|| Standing::Missing));
    shared.establish(session, Some(sample));

    tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            // Only clients open streams; the multiplexer ends the session of a server that tries.
            incoming::read(&shared, stream.body, stream.deframer, drop).await;
            // The connection stays open until the session ends.
            drop(channel);
        }
    });
    tokio::spawn(Arc::clone(&shared).run_timer());
    Ok((
        shared,
        ConnectTimes {
            started,
            connected,
            paired,
            established,
        },
    ))
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
