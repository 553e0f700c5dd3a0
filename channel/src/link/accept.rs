//! From an `Incoming` to an established session, on the exec-server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
use super::stream::{OuterStream, StreamOpenError};
use crate::allow::{AllowError, AllowList, Peer};
use crate::limits;
use crate::service::SessionError;
use crate::service::established::Established;
use crate::service::incoming;
use crate::service::server::{self, Service};
use crate::service::shared::Shared;
use crate::slots::{QueueFull, Slot, Slots};

/// What every session of one exec-server shares.
pub(crate) struct Acceptor {
    pub(crate) url: RelayUrl,
    pub(crate) id: ExecServerId,
    pub(crate) key: Arc<StaticKey>,
    pub(crate) allow: Arc<AllowList>,
    pub(crate) rekey: RekeyPolicy,
    /// Handshakes so far.
    pub(crate) handshakes: AtomicU64,
    pub(crate) epoch: Epoch,
    pub(crate) recorder: Recorder,
    /// Sessions of clients on the allow-list, from the moment when their key is known.
    pub(crate) sessions: Slots<PublicKey>,
    /// Those of them whose client has not spoken since message 2.
    pub(crate) unconfirmed: Slots<(PublicKey, Origin)>,
    /// Clients that are told why they are not served.
    pub(crate) farewells: Slots<Origin>,
}

/// Where a dial came from, as the relay tells: a keyed hash of a network. What a hostile relay tells there is of no use to it: it can
/// withhold any session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin([u8; 8]);

impl Origin {
    /// A relay that does not tell makes all dials one origin's.
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
    #[error("no connection for another session: {0}")]
    Connect(#[from] RelayError),
    #[error("the relay did not hand the session over: {0}")]
    Stream(#[from] StreamOpenError),
    #[error("{0}: the client pins another key, or the relay altered the handshake")]
    Handshake(#[from] HandshakeError),
    #[error(
        "{source}: the client speaks protocol version {version}, this exec-server {PROTOCOL_VERSION} (the relay reports \
         this, and nothing authenticates it); upgrade the older of the two"
    )]
    OtherVersion { version: u32, source: HandshakeError },
    #[error("the client did not finish the handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
}

/// Why a client that has shaken hands is not served.
pub(crate) enum Refusal {
    /// Its key is not on the allow-list.
    Unlisted(PublicKey),
    /// The allow-list does not tell.
    ListUnusable(Arc<AllowError>),
    /// Its key has its share of the sessions, or all are taken.
    NoSession(Arc<Peer>),
}

impl Refusal {
    /// The same for people.
    fn detail(&self) -> &'static str {
        match self {
            Self::NoSession(_) => "no session left for this key",
            _ => "",
        }
    }

    /// What the client is told, and no more: the rest is for the exec-server's owner.
    fn to_client(&self) -> (go_away::Reason, SessionError) {
        match self {
            Self::Unlisted(_) => (go_away::Reason::NotAllowed, SessionError::NotAllowed),
            Self::ListUnusable(_) => (
                go_away::Reason::AllowListUnusable,
                SessionError::AllowListUnusable,
            ),
            // This implementation's clients know from message 2.
            Self::NoSession(_) => (go_away::Reason::LimitExceeded, SessionError::Closed),
        }
    }
}

/// A session whose handshake is complete.
pub(crate) struct Accepted {
    shared: Arc<Shared>,
    stream: OuterStream,
    admission: Result<Admitted, Refusal>,
    /// Held for a client that is refused until it has been told so.
    half_open: Option<Slot<Origin>>,
    /// Of a client that is refused with a reason.
    farewell: Option<Slot<Origin>>,
    lease: Lease,
}

/// A client that is served.
struct Admitted {
    peer: Arc<Peer>,
    session: Slot<PublicKey>,
    /// Given back when the client has spoken.
    unconfirmed: Slot<(PublicKey, Origin)>,
}

/// A session whose client has said who it is, and has not been answered.
struct Opened {
    shared: Arc<Shared>,
    stream: OuterStream,
    session: SessionId,
    responder: Responder,
    received_unix_ns: u64,
    lease: Lease,
}

impl Acceptor {
    /// Takes the session over and shakes hands. Bounded by [`HANDSHAKE_TIMEOUT`] until the client's key is known. From there on a client
    /// that is allowed counts with its key, and leaves `half_open`, its origin's slot, to others.
    pub(crate) async fn accept(
        &self,
        pool: &Arc<Pool>,
        incoming: Incoming,
        half_open: Slot<Origin>,
    ) -> Result<Accepted, AcceptError> {
        let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.open(pool, &incoming))
            .await
            .unwrap_or(Err(AcceptError::Timeout))?;
        let remote = *opened.responder.remote();
        let mut half_open = Some(half_open);
        let admission = match self.allow.find(&remote) {
            Ok(Some(peer)) => {
                half_open = None;
                self.admit(Arc::new(peer), Origin::of(&incoming)).await
            }
            Ok(None) => Err(Refusal::Unlisted(remote)),
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
            features: Features::SUPPORTED.bits(),
        };
        let prologue = prologue(self.id, session);
        let answered = responder.finish(&hello.encode_to_vec());
        let (transport, message2) = answered.inspect_err(|_| shared.close(SessionError::Closed))?;
        let mut farewell = None;
        if admission.is_err() {
            farewell = match self.farewells.request(Origin::of(&incoming)) {
                Ok(request) => Some(request.granted().await),
                Err(QueueFull) => None,
            };
        }
        if admission.is_ok() || farewell.is_some() {
            shared.send_handshake(message2);
        } else {
            // A client that has message 2 gets a reason with each end that follows.
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
        let mux = Mux::new(Role::Server, now);
        let allow = Arc::clone(&self.allow);
        let still_allowed = Box::new(move || allow.standing(&remote));
        shared.establish(Established::new(session, mux, self.epoch, still_allowed), None);
        Ok(Accepted {
            shared,
            stream,
            admission,
            half_open,
            farewell,
            lease,
        })
    }

    /// A session for a client that is allowed: its turn is waited for, but not longer than the client waits. Whoever repeats a message 1 of its
    /// key, or dials with its key and says nothing, from another network, takes turns with it.
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

    /// Takes the session over and reads message 1.
    async fn open(&self, pool: &Arc<Pool>, incoming: &Incoming) -> Result<Opened, AcceptError> {
        let session = SessionId::try_from(&incoming.session_id[..]).map_err(|_| AcceptError::Incoming)?;
        let headers = [
            (header::EXEC_SERVER_ID, self.id.to_string()),
            (header::SESSION_ID, session.to_string()),
            (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
        ];
        let (shared, lease, mut stream) = self.take_over(pool, &headers).await?;
        // Dropped before it is complete, it hangs up: the client would wait for message 2 until its deadline.
        let close_on_drop = CloseOnDrop(&shared);
        let message1 = stream.message().await?;
        let received_unix_ns = unix_now_ns();
        let responder = Responder::read(&self.key, &prologue(self.id, session), &message1);
        // The hint counts only now: a relay that alters it cannot stop a handshake that verifies.
        if let (Err(source), version) = (&responder, incoming.version)
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

    /// Answers a client of another version by this end's version. In a task of its own, so that the dial's handshake slot is free at once.
    fn refuse_version(&self, shared: Arc<Shared>, stream: OuterStream, lease: Lease, origin: Origin) {
        let Ok(farewell) = self.farewells.request(origin) else {
            return shared.close(SessionError::Closed);
        };
        shared.refuse_version();
        tokio::spawn(async move {
            let _farewell = farewell.granted().await;
            incoming::read(&shared, stream.body, stream.deframer, drop).await;
            drop(lease);
        });
    }

    /// Opens the stream, and once more over another connection where the relay takes the first one for full.
    async fn take_over(
        &self,
        pool: &Arc<Pool>,
        headers: &[(&'static str, String)],
    ) -> Result<(Arc<Shared>, Lease, OuterStream), AcceptError> {
        let mut full = None;
        loop {
            let mut lease = pool.lease(full.as_ref()).await?;
            let shared = Shared::new(self.recorder.clone());
            let opened =
                OuterStream::open(&mut lease.channel, self.url.method("Accept"), headers, &shared).await;
            match opened {
                Ok(stream) => return Ok((shared, lease, stream)),
                // The relay lets go of a session a little later than this end: others may be told so, too.
                Err(StreamOpenError::Refused(status))
                    if status.code() == Code::ResourceExhausted && full.is_none() =>
                {
                    full = Some(lease);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Ends a session that has not come about.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close(SessionError::Closed);
    }
}

impl Accepted {
    /// The client, or why it is not served.
    pub(crate) fn peer(&self) -> Result<&Arc<Peer>, &Refusal> {
        self.admission.as_ref().map(|admitted| &admitted.peer)
    }

    /// The session, to end it from outside.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Serves the session to its end and returns why it ended; `began` is called once the client has proven that it is there. A client
    /// that is not served is told so, encrypted, and nothing else; once that is queued its origin's slot is free.
    pub(crate) async fn serve(self, service: impl Service, began: impl FnOnce()) -> SessionError {
        let Self {
            shared,
            stream,
            admission,
            half_open,
            farewell: _farewell,
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
            // Message 1 can be replayed; only a transport message shows that the client is there.
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
    fn an_origin_of_any_length_is_one() {
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
