//! From an `Incoming` to an established session, on the exec-server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_proto::channel::{ServerHello, go_away};
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::relay::Incoming;
use baton_proto::{Epoch, ExecServerId, SessionId, header};
use baton_trace::clock;
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use data_encoding::HEXLOWER;
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::Channel;

use super::endpoint::RelayUrl;
use super::stream::{OuterStream, StreamOpenError};
use crate::allow::{AllowError, AllowList, Peer};
use crate::key::{PublicKey, StaticKey};
use crate::limits;
use crate::mux::{Mux, Role};
use crate::service::SessionError;
use crate::service::established::Established;
use crate::service::incoming;
use crate::service::server::{self, Service};
use crate::service::shared::Shared;
use crate::session::{End, HandshakeError, RekeyPolicy, Responder, Session, prologue};

/// What every session of one exec-server shares.
pub(crate) struct Acceptor {
    pub(crate) url: RelayUrl,
    pub(crate) id: ExecServerId,
    pub(crate) key: Arc<StaticKey>,
    pub(crate) allow: Arc<AllowList>,
    pub(crate) rekey: RekeyPolicy,
    /// Handshakes so far.
    pub(crate) shaken: AtomicU64,
    pub(crate) epoch: Epoch,
    pub(crate) recorder: Recorder,
}

/// Why a dialled session was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("the relay announced a client without a valid session id")]
    Incoming,
    #[error("the relay did not hand the session over: {0}")]
    Stream(#[from] StreamOpenError),
    #[error("{0}: the client pins another key, or the relay altered the handshake")]
    Handshake(#[from] HandshakeError),
    #[error("the client did not finish the handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
}

/// Why a client that has shaken hands is not served.
pub(crate) enum Refusal {
    /// Its key is not on the allow-list.
    Unlisted(PublicKey),
    /// The allow-list does not tell.
    ListUnusable(Arc<AllowError>),
}

impl Refusal {
    /// What the client is told, and no more: the rest is for the exec-server's owner.
    fn to_client(&self) -> (go_away::Reason, SessionError) {
        match self {
            Self::Unlisted(_) => (go_away::Reason::NotAllowed, SessionError::NotAllowed),
            Self::ListUnusable(_) => (
                go_away::Reason::AllowListUnusable,
                SessionError::AllowListUnusable,
            ),
        }
    }
}

/// A session whose handshake is complete.
pub(crate) struct Accepted {
    shared: Arc<Shared>,
    stream: OuterStream,
    peer: Result<Arc<Peer>, Refusal>,
}

impl Acceptor {
    /// Takes the session over and shakes hands. Bounded by [`HANDSHAKE_TIMEOUT`].
    pub(crate) async fn accept(
        &self,
        mut channel: Channel,
        incoming: Incoming,
    ) -> Result<Accepted, AcceptError> {
        let shared = Shared::new(self.recorder.clone());
        let accepted = tokio::time::timeout(
            HANDSHAKE_TIMEOUT,
            self.shake_hands(&mut channel, incoming, &shared),
        )
        .await
        .unwrap_or(Err(AcceptError::Timeout));
        if accepted.is_err() {
            // Hangs up: the client would wait for message 2 until its deadline.
            shared.close(SessionError::Closed);
        }
        accepted
    }

    async fn shake_hands(
        &self,
        channel: &mut Channel,
        incoming: Incoming,
        shared: &Arc<Shared>,
    ) -> Result<Accepted, AcceptError> {
        let session = SessionId::try_from(&incoming.session_id[..]).map_err(|_| AcceptError::Incoming)?;
        let headers = [
            (header::SESSION_ID, session.to_string()),
            (header::ACCEPT_TOKEN, HEXLOWER.encode(&incoming.accept_token)),
        ];
        let mut stream = OuterStream::open(channel, self.url.method("Accept"), &headers, shared).await?;
        let message1 = stream.message().await?;
        let received_unix_ns = unix_now_ns();
        let prologue = prologue(self.id, session);
        let responder = Responder::read(&self.key, &prologue, &message1)?;
        let remote = *responder.remote();
        let peer = match self.allow.find(&remote) {
            Ok(Some(peer)) => Ok(Arc::new(peer)),
            Ok(None) => Err(Refusal::Unlisted(remote)),
            Err(error) => Err(Refusal::ListUnusable(Arc::new(error))),
        };
        let hello = ServerHello {
            epoch: self.epoch.0.to_vec().into(),
            received_unix_ns,
            sent_unix_ns: unix_now_ns(),
            window: limits::RECEIVE_WINDOW,
        };
        let (transport, message2) = responder.finish(&hello.encode_to_vec())?;
        shared.send_handshake(message2);
        let now = clock::now();
        let end = End::ExecServer {
            key: Arc::clone(&self.key),
            client: remote,
        };
        let n = self.shaken.fetch_add(1, Ordering::Relaxed);
        let rekey = self.rekey.spread(self.id.first_bytes(), n);
        let session = Session::new(transport, end, prologue, rekey, now);
        let mux = Mux::new(Role::Server, now);
        let allow = Arc::clone(&self.allow);
        let still_allowed = Box::new(move || allow.still_names(&remote));
        shared.establish(Established::new(session, mux, self.epoch, still_allowed), None);
        Ok(Accepted {
            shared: Arc::clone(shared),
            stream,
            peer,
        })
    }
}

impl Accepted {
    /// The client, or why it is not served.
    pub(crate) fn peer(&self) -> Result<&Arc<Peer>, &Refusal> {
        self.peer.as_ref()
    }

    /// The session, to end it from outside.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Serves the session to its end and returns why it ended. A client that is not allowed is told so, encrypted, and
    /// nothing else. `half_open` is held until the client has proven that it is there; then `began` is called.
    pub(crate) async fn serve(
        self,
        service: impl Service,
        half_open: OwnedSemaphorePermit,
        began: impl FnOnce(),
    ) -> SessionError {
        let Self { shared, stream, peer } = self;
        let peer = match peer {
            Ok(peer) => peer,
            Err(refusal) => {
                let (reason, error) = refusal.to_client();
                shared.go_away(reason, "", error);
                return incoming::read(&shared, stream, drop).await;
            }
        };
        tokio::spawn(Arc::clone(&shared).run_timer());
        let confirm = async {
            // Message 1 can be replayed; only a transport message shows that the client is there.
            let spoke = tokio::time::timeout(HANDSHAKE_TIMEOUT, shared.confirmed()).await;
            if spoke.is_err() {
                let why = "the client never spoke after the handshake: it has gone, or the relay repeated an old one";
                shared.close(SessionError::Relay(why.into()));
            }
            drop(half_open);
            if shared.is_confirmed() {
                began();
            }
        };
        let read = incoming::read(&shared, stream, |stream| {
            server::spawn(stream, service.clone(), Arc::clone(&peer))
        });
        tokio::join!(confirm, read).1
    }
}
