//! Accepts a dialled session on the exec-server: from an `Incoming` message to an established session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use baton_export::clock;
use baton_mux::{Mux, Role};
use baton_noise::key::{PublicKey, StaticKey};
use baton_noise::{Endpoint, HandshakeError, RekeyPolicy, Responder, Session, prologue};
use baton_proto::channel::{ServerHello, go_away};
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::relay::Incoming;
use baton_proto::{Epoch, ExecServerId, Features, PROTOCOL_VERSION, SessionId, header};
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use data_encoding::HEXLOWER;
use prost::Message;
use tonic::Code;

use super::endpoint::{RelayError, RelayUrl};
use super::pool::{Lease, Pool};
use super::register::Decliner;
use super::stream::{OuterStream, StreamOpenError};
use crate::allow::{AllowError, AllowList, Lookup, Peer};
use crate::limits;
use crate::service::SessionError;
use crate::service::established::Established;
use crate::service::incoming;
use crate::service::server::{self, Service};
use crate::service::session_state::SessionState;
use crate::slots::{QueueFull, Slot, Slots};

/// State that all sessions of one exec-server share.
pub(crate) struct Acceptor {
    pub(crate) url: RelayUrl,
    pub(crate) id: ExecServerId,
    pub(crate) key: Arc<StaticKey>,
    pub(crate) allow: Arc<AllowList>,
    pub(crate) rekey: RekeyPolicy,
    /// The number of completed handshakes, which spreads the rekeys of sessions.
    pub(crate) handshakes: AtomicU64,
    pub(crate) epoch: Epoch,
    pub(crate) recorder: Recorder,
    /// Slots of sessions of clients on the allow-list, taken when the client's key is known.
    pub(crate) sessions: Slots<PublicKey>,
    /// Slots of the sessions whose client has sent no transport message yet.
    pub(crate) unconfirmed: Slots<(PublicKey, Origin)>,
    /// Slots of refused clients that get a reason.
    pub(crate) refusals: Slots<Origin>,
}

/// The connections over which the dials of one registration are accepted, and its stream, on which they are declined.
/// Each registration has its own: behind a balancer that chooses a relay for a whole connection, connections that are
/// opened with the registration probably lead to its relay.
#[derive(Clone)]
pub(crate) struct AcceptPath {
    pub(crate) pool: Arc<Pool>,
    pub(crate) decliner: Decliner,
}

/// The origin of a dial, as the relay reports it: a keyed hash of the client's network. A false origin gains a hostile
/// relay nothing: it can withhold any session anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin([u8; 8]);

impl Origin {
    /// Truncates or pads the relay's value. If the relay reports no origin, all dials share one.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        let mut origin = [0; 8];
        for (to, from) in origin.iter_mut().zip(&incoming.origin) {
            *to = *from;
        }
        Self(origin)
    }
}

/// Why a dialled session was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("the relay announced a client without a valid session id")]
    Incoming,
    #[error("cannot open a further connection to the relay: {0}; its client is asked to retry")]
    Connect(#[from] RelayError),
    /// The relay did not take the `Accept`. After a load balancer has chosen another relay, it goes there, and that one
    /// knows nothing of the dial.
    #[error("the relay did not connect the session: {0}; its client is asked to retry")]
    NotTaken(StreamOpenError),
    #[error("the relay ended the session before its handshake: {0}")]
    Stream(#[from] StreamOpenError),
    #[error("{0}{cause}", cause = cause(.0))]
    Handshake(#[from] HandshakeError),
    #[error(
        "{source}: the client speaks protocol version {version}, this exec-server {PROTOCOL_VERSION} (the relay reports \
         this, and nothing authenticates it); upgrade the older of the two"
    )]
    OtherVersion { version: u32, source: HandshakeError },
    #[error("the client did not finish the handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
}

/// What a failed handshake can come from, where it is not the error itself.
fn cause(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::Verify => ": the client pins another key, or the relay altered the handshake",
        HandshakeError::KemKey | HandshakeError::Local => "",
    }
}

/// Why a client whose message 1 is verified is not served.
pub(crate) enum Refusal {
    /// Its key is not on the allow-list.
    Unlisted(PublicKey),
    /// Its key is on the allow-list under this name, and has expired.
    Expired(String),
    /// The allow-list cannot be used.
    ListUnusable(Arc<AllowError>),
    /// Its key got no session slot in time, or its share of the queue is full.
    NoSession(Arc<Peer>),
}

impl Refusal {
    /// A text for the client's user.
    fn detail(&self) -> &'static str {
        match self {
            Self::NoSession(_) => "no session left for this key",
            _ => "",
        }
    }

    /// The reason that the client receives, and the session's error. All further detail is for the owner only.
    fn to_client(&self) -> (go_away::Reason, SessionError) {
        match self {
            Self::Unlisted(_) | Self::Expired(_) => (go_away::Reason::NotAllowed, SessionError::NotAllowed),
            Self::ListUnusable(_) => (
                go_away::Reason::AllowListUnusable,
                SessionError::AllowListUnusable,
            ),
            // Message 2 already carries `retry_after_ms`; clients of this implementation close on it.
            Self::NoSession(_) => (go_away::Reason::LimitExceeded, SessionError::Closed),
        }
    }
}

/// A session whose handshake is complete.
pub(crate) struct Accepted {
    shared: Arc<SessionState>,
    stream: OuterStream,
    admission: Result<Admitted, Refusal>,
    /// Held for a refused client until its reason is queued.
    half_open: Option<Slot<Origin>>,
    /// Held for a refused client that gets a reason.
    refusal_slot: Option<Slot<Origin>>,
    lease: Lease,
}

/// An accepted client and its slots.
struct Admitted {
    peer: Arc<Peer>,
    session: Slot<PublicKey>,
    /// Freed when the client's first transport message arrives.
    unconfirmed: Slot<(PublicKey, Origin)>,
}

/// A session whose message 1 is read, before message 2 is sent.
struct Opened {
    shared: Arc<SessionState>,
    stream: OuterStream,
    session: SessionId,
    responder: Responder,
    received_unix_ns: u64,
    lease: Lease,
}

impl Acceptor {
    /// Opens the `Accept` stream and completes the handshake. Declines a dial whose `Accept` the relay does not take,
    /// so that its client dials again at once. [`HANDSHAKE_TIMEOUT`] bounds the time until the client's key is known.
    /// An allowed client then frees `half_open`, the slot of its origin, and takes a slot of its key. `features` are
    /// announced.
    pub(crate) async fn accept(
        &self,
        path: &AcceptPath,
        incoming: Incoming,
        half_open: Slot<Origin>,
        features: Features,
    ) -> Result<Accepted, AcceptError> {
        let opening = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.open(&path.pool, &incoming));
        let opened = opening.await.unwrap_or(Err(AcceptError::Timeout));
        if let Err(AcceptError::Connect(_) | AcceptError::NotTaken(_)) = &opened {
            // Holds the dial's handshake slot, so that their number is bounded.
            path.decliner.decline(&incoming, limits::NOT_TAKEN_RETRY).await;
        }
        let opened = opened?;
        let remote = *opened.responder.remote();
        let mut half_open = Some(half_open);
        let admission = match self.allow.look_up(&remote, SystemTime::now()) {
            Ok(Lookup::Allowed(peer)) => {
                half_open = None;
                self.admit(Arc::new(peer), Origin::of(&incoming)).await
            }
            Ok(Lookup::Expired(name)) => Err(Refusal::Expired(name)),
            Ok(Lookup::Unlisted) => Err(Refusal::Unlisted(remote)),
            Err(error) => Err(Refusal::ListUnusable(Arc::new(error))),
        };
        let Opened {
            shared,
            stream,
            session,
            responder,
            received_unix_ns,
            lease,
        } = opened;
        let retry = match &admission {
            Err(Refusal::NoSession(_)) => limits::SESSION_RETRY,
            _ => Duration::ZERO,
        };
        let hello = ServerHello {
            epoch: self.epoch.0.to_vec().into(),
            received_unix_ns,
            sent_unix_ns: unix_now_ns(),
            window: baton_mux::limits::RECEIVE_WINDOW,
            retry_after_ms: u32::try_from(retry.as_millis()).unwrap_or(u32::MAX),
            version: PROTOCOL_VERSION,
            features: features.bits(),
        };
        let prologue = prologue(self.id, session);
        let answered = responder.finish(&hello.encode_to_vec());
        let (transport, message2) = answered.inspect_err(|_| shared.close(SessionError::Closed))?;
        let mut refusal_slot = None;
        if admission.is_err() {
            refusal_slot = match self.refusals.request(Origin::of(&incoming)) {
                Ok(request) => Some(request.granted().await),
                Err(QueueFull) => None,
            };
        }
        if admission.is_ok() || refusal_slot.is_some() {
            shared.send_handshake(message2);
        } else {
            // No message 2 either: a client that has it expects a reason when the session ends.
            shared.close(SessionError::Closed);
        }
        let now = clock::now();
        let end = Endpoint::ExecServer {
            key: Arc::clone(&self.key),
            client: remote,
        };
        let n = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let rekey = self.rekey.spread(self.id.first_bytes(), n);
        let session = Session::new(transport, end, prologue, rekey, now);
        let mut mux = Mux::new(Role::Server, now);
        mux.set_own_features(features);
        let allow = Arc::clone(&self.allow);
        let still_allowed = Box::new(move || allow.standing(&remote, SystemTime::now()));
        shared.establish(Established::new(session, mux, self.epoch, still_allowed), None);
        Ok(Accepted {
            shared,
            stream,
            admission,
            half_open,
            refusal_slot,
            lease,
        })
    }

    /// Takes the slots of an allowed client's session. Waits at most [`limits::SESSION_WAIT`], which is shorter than
    /// the client's own timeout. Unconfirmed slots are shared by key and origin: an attacker in another network who
    /// replays the key's message 1, or stays silent after it, cannot block the client: the two origins get slots in
    /// turn.
    async fn admit(&self, peer: Arc<Peer>, origin: Origin) -> Result<Admitted, Refusal> {
        let slots = async {
            let unconfirmed = self.unconfirmed.request((peer.key, origin))?.granted().await;
            let session = self.sessions.request(peer.key)?.granted().await;
            Ok::<_, QueueFull>((session, unconfirmed))
        };
        match tokio::time::timeout(limits::SESSION_WAIT, slots).await {
            Ok(Ok((session, unconfirmed))) => Ok(Admitted {
                peer,
                session,
                unconfirmed,
            }),
            Ok(Err(QueueFull)) | Err(_) => Err(Refusal::NoSession(peer)),
        }
    }

    /// Opens the `Accept` stream and reads message 1.
    async fn open(&self, pool: &Arc<Pool>, incoming: &Incoming) -> Result<Opened, AcceptError> {
        let session = SessionId::try_from(&incoming.session_id[..]).map_err(|_| AcceptError::Incoming)?;
        let headers = [
            (header::EXEC_SERVER_ID, self.id.to_string()),
            (header::SESSION_ID, session.to_string()),
            (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
        ];
        let (shared, lease, mut stream) = self.take_over(pool, &headers).await?;
        // Closes the stream on every early return; else the client would wait for message 2 until its deadline.
        let close_on_drop = CloseOnDrop(&shared);
        let message1 = stream.message().await?;
        let received_unix_ns = unix_now_ns();
        let responder = Responder::read(&self.key, &prologue(self.id, session), &message1);
        // The version is an unauthenticated hint. It is read only after message 1 failed to verify, so that a relay
        // cannot stop a valid handshake with it.
        if let (Err(source @ HandshakeError::Verify), version) = (&responder, incoming.version)
            && !matches!(version, 0 | PROTOCOL_VERSION)
        {
            std::mem::forget(close_on_drop);
            self.refuse_version(shared, stream, lease, Origin::of(incoming));
            let source = *source;
            return Err(AcceptError::OtherVersion { version, source });
        }
        let responder = responder?;
        std::mem::forget(close_on_drop);
        Ok(Opened {
            shared,
            stream,
            session,
            responder,
            received_unix_ns,
            lease,
        })
    }

    /// Sends this exec-server's version to a client of another version, in a separate task that does not hold the
    /// dial's handshake slot.
    fn refuse_version(&self, shared: Arc<SessionState>, stream: OuterStream, lease: Lease, origin: Origin) {
        let Ok(refusal_slot) = self.refusals.request(origin) else {
            return shared.close(SessionError::Closed);
        };
        shared.refuse_version();
        tokio::spawn(async move {
            let _refusal_slot = refusal_slot.granted().await;
            incoming::read(&shared, stream.body, stream.deframer, drop).await;
            drop(lease);
        });
    }

    /// Opens the `Accept` stream. If the relay reports the connection as full, tries once more over another one.
    async fn take_over(
        &self,
        pool: &Arc<Pool>,
        headers: &[(&'static str, String)],
    ) -> Result<(Arc<SessionState>, Lease, OuterStream), AcceptError> {
        let mut full = None;
        loop {
            let mut lease = pool.lease(full.as_ref()).await?;
            let shared = SessionState::new(self.recorder.clone());
            let opened =
                OuterStream::open(&mut lease.channel, self.url.method("Accept"), headers, &shared).await;
            match opened {
                Ok(stream) => return Ok((shared, lease, stream)),
                // The relay frees an ended session's slot a little later than this side does, so a connection with a
                // free slot here may be full there.
                Err(StreamOpenError::Refused(status))
                    if status.code() == Code::ResourceExhausted && full.is_none() =>
                {
                    full = Some(lease);
                }
                Err(error) => return Err(AcceptError::NotTaken(error)),
            }
        }
    }
}

/// Closes a session whose handshake fails.
struct CloseOnDrop<'a>(&'a SessionState);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close(SessionError::Closed);
    }
}

impl Accepted {
    /// The client, or the reason for its refusal.
    pub(crate) fn peer(&self) -> Result<&Arc<Peer>, &Refusal> {
        self.admission.as_ref().map(|admitted| &admitted.peer)
    }

    /// The session's state, with which other tasks can end it.
    pub(crate) fn shared(&self) -> &Arc<SessionState> {
        &self.shared
    }

    /// Serves the session until it ends, and returns the reason. Calls `began` at the client's first transport message.
    /// A refused client receives only the encrypted reason; its origin's slot is freed when the reason is queued.
    pub(crate) async fn serve(self, service: impl Service, began: impl FnOnce()) -> SessionError {
        let Self {
            shared,
            stream,
            admission,
            half_open,
            refusal_slot: _refusal_slot,
            lease: _lease,
        } = self;
        let Admitted {
            peer,
            session: _session,
            unconfirmed,
        } = match admission {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let (reason, error) = refusal.to_client();
                shared.go_away(reason, refusal.detail(), error);
                drop(half_open);
                return incoming::read(&shared, stream.body, stream.deframer, drop).await;
            }
        };
        tokio::spawn(Arc::clone(&shared).run_timer());
        let confirm = async {
            // Message 1 can be replayed. Only a transport message proves that the client is live.
            let spoke = tokio::time::timeout(limits::CONFIRM_TIMEOUT, shared.confirmed()).await;
            if spoke.is_err() {
                shared.give_up(SessionError::Unconfirmed);
            }
            drop(unconfirmed);
            if shared.is_confirmed() {
                began();
            }
        };
        let read = incoming::read(&shared, stream.body, stream.deframer, |stream| {
            server::spawn(stream, service.clone(), Arc::clone(&peer))
        });
        tokio::join!(confirm, read).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_that_does_not_verify_is_said_to_be_of_another_key() {
        let told = |error| AcceptError::Handshake(error).to_string();
        assert!(told(HandshakeError::Verify).contains("pins another key"));
        assert_eq!(
            told(HandshakeError::KemKey),
            "the peer sent an invalid ML-KEM key"
        );
        assert!(!told(HandshakeError::Local).contains("client"));
    }

    #[test]
    fn an_origin_of_any_length_is_accepted() {
        let origin = |bytes: &'static [u8]| {
            Origin::of(&Incoming {
                origin: bytes.into(),
                ..Incoming::default()
            })
        };
        assert_eq!(origin(b""), Origin([0; 8]));
        assert_eq!(origin(b"12345678"), Origin(*b"12345678"));
        assert_eq!(origin(b"12345678 and more"), Origin(*b"12345678"));
    }
}
