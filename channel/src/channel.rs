//! The client's side: a tonic channel to one exec-server, over one session that it keeps open and re-establishes.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_export::clock;
use baton_mux::{StreamError, code};
use baton_noise::RekeyPolicy;
use baton_noise::key::{Fingerprint, FingerprintKey, StaticKey};
use baton_proto::{Epoch, Features};
use baton_trace::recorder::Recorder;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use opentelemetry::KeyValue;
use tonic::Status;
use tonic::body::Body;

use crate::limits;
use crate::link::dial::{ConnectError, RelayOptions, dial};
use crate::link::endpoint::RelayUrl;
use crate::link::network::Network;
use crate::link::retry::Retry;
use crate::link::tls::roots::RelayRoots;
use crate::service::ResponseBody;
use crate::service::SessionError;
use crate::service::client::{Call, Started};
use crate::service::record::ConnectTimes;
use crate::service::session_state::SessionState;
use crate::service::{reset_status, stream_status};
use crate::ticket::Ticket;

/// A channel for tonic's generated clients, encrypted end to end. It multiplexes all calls over one session, which it
/// establishes at the first call, keeps open, and establishes again when a later call finds it ended. Cheap to clone;
/// the session ends when the last clone is dropped.
///
/// A call without a session waits for one; its trace shows the wait as `connect.*` stages. A call that the end of a
/// session cuts short fails with `Unavailable`. It is not retried, because only its caller knows whether it is
/// idempotent.
///
/// Errors arrive as [`tonic::Status`] whose source is a [`ConnectError`] or a [`SessionError`].
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

/// Options of a [`Channel`]. The defaults suit most uses.
#[derive(Clone)]
pub struct ChannelConfig {
    /// Trust roots for a relay whose URL is `https`. Default: the platform's.
    pub relay_roots: RelayRoots,
    /// Records every call. Default: off.
    pub recorder: Recorder,
    /// When a session renews its keys.
    pub rekey_policy: RekeyPolicy,
    /// The network that reaches the relay. Default: TCP.
    pub network: Option<Network>,
    /// How long a call waits for a session while the cause is temporary: a relay or exec-server that restarts or is at
    /// its limit. Zero means one attempt. A permanent cause fails the call at once. Default:
    /// [`limits::SESSION_TIMEOUT`].
    pub connect_timeout: Duration,
    /// Called once for each session that takes longer than [`limits::WAITING_NOTICE`] to establish. Must not block.
    pub on_waiting: Option<OnWaiting>,
}

/// A callback with the reason of the last failed attempt, and the time for which the channel goes on trying.
pub type OnWaiting = Arc<dyn Fn(&ConnectError, Duration) + Send + Sync>;

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            relay_roots: RelayRoots::default(),
            recorder: Recorder::off(),
            rekey_policy: RekeyPolicy::default(),
            network: None,
            connect_timeout: limits::SESSION_TIMEOUT,
            on_waiting: None,
        }
    }
}

struct Inner {
    ticket: Ticket,
    key: Arc<StaticKey>,
    config: ChannelConfig,
    link: Mutex<Link>,
    attempts: AtomicU64,
    /// The relay's address as span attributes.
    relay: OnceLock<Vec<KeyValue>>,
    /// Derived at the first use.
    fingerprints: OnceLock<FingerprintKey>,
}

/// The state of the channel's session.
enum Link {
    Down,
    /// All calls that need the session wait for the same attempt, which itself sets the next state.
    Connecting(AttemptId, SharedFuture<BoxFuture<'static, Connected>>),
    Up(Arc<SessionState>),
}

/// Identifies one attempt of a channel.
type AttemptId = u64;

type Connected = Result<(Arc<SessionState>, ConnectTimes), Arc<ConnectError>>;

impl Channel {
    /// A channel to the exec-server of `ticket` for the client with `key`. Connects at the first call.
    pub fn new(ticket: Ticket, key: StaticKey) -> Self {
        Self::with_config(ticket, key, ChannelConfig::default())
    }

    /// [`new`](Self::new) with options.
    pub fn with_config(ticket: Ticket, key: StaticKey, config: ChannelConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                ticket,
                key: Arc::new(key),
                config,
                link: Mutex::new(Link::Down),
                attempts: AtomicU64::new(0),
                relay: OnceLock::new(),
                fingerprints: OnceLock::new(),
            }),
        }
    }

    /// The keyed hash of a call's parts under this client's key, for its spans.
    pub fn fingerprint<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
        let key = self
            .inner
            .fingerprints
            .get_or_init(|| self.inner.key.fingerprint_key());
        key.fingerprint(parts)
    }

    /// Whether calls are recorded.
    pub fn is_recording(&self) -> bool {
        self.inner.config.recorder.is_on()
    }

    /// The number of rekeys of the current session.
    pub fn rekeys(&self) -> u64 {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.renewals(),
            Link::Down | Link::Connecting(..) => 0,
        }
    }

    /// Whether there is a session that takes calls. The end of a session is known at the latest after
    /// [`IDLE_TIMEOUT`](baton_mux::limits::IDLE_TIMEOUT) without a message.
    pub fn is_connected(&self) -> bool {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.is_open(),
            Link::Down | Link::Connecting(..) => false,
        }
    }

    /// How often this channel has begun to connect. Calls between which it stays the same used one session.
    pub fn connects(&self) -> u64 {
        self.inner.attempts.load(Ordering::Relaxed)
    }

    /// A channel with the same ticket, key and options, and a session of its own.
    pub fn sibling(&self) -> Self {
        let Inner {
            ticket, key, config, ..
        } = &*self.inner;
        Self {
            inner: Arc::new(Inner {
                ticket: ticket.clone(),
                key: Arc::clone(key),
                config: config.clone(),
                link: Mutex::new(Link::Down),
                attempts: AtomicU64::new(0),
                relay: OnceLock::new(),
                fingerprints: OnceLock::new(),
            }),
        }
    }

    /// Establishes the session now, and returns the exec-server's epoch.
    pub async fn connect(&self) -> Result<Epoch, Status> {
        let (shared, _) = self.session().await?;
        shared.epoch().ok_or_else(|| SessionError::Closed.into_status())
    }

    /// The exec-server's epoch; `None` without a session.
    pub fn epoch(&self) -> Option<Epoch> {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.epoch(),
            Link::Down | Link::Connecting(..) => None,
        }
    }

    /// The features that both ends of the session have; none without a session.
    pub fn features(&self) -> Features {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.features(),
            Link::Down | Link::Connecting(..) => Features::default(),
        }
    }

    /// Ends the session after its queued frames are sent, or after [`crate::limits::CLOSE_TIMEOUT`]. If a call of the
    /// session was cancelled, waits as long again until the server has received that. Open calls fail. A later call
    /// establishes a new session.
    pub async fn close(&self) {
        let link = std::mem::replace(
            &mut *self.inner.link.lock().unwrap_or_else(PoisonError::into_inner),
            Link::Down,
        );
        if let Link::Up(shared) = link {
            shared.finish(SessionError::Closed);
            shared.flushed().await;
            shared.resets_received().await;
        }
    }

    /// The session and, if this call waited for it, the times of its connection steps.
    async fn session(&self) -> Result<(Arc<SessionState>, Option<ConnectTimes>), Status> {
        let (id, attempt) = {
            let mut link = self.inner.link.lock().unwrap_or_else(PoisonError::into_inner);
            match &*link {
                Link::Up(shared) if shared.is_open() => return Ok((Arc::clone(shared), None)),
                Link::Connecting(id, attempt) => (*id, attempt.clone()),
                Link::Up(_) | Link::Down => {
                    let id = self.inner.attempts.fetch_add(1, Ordering::Relaxed);
                    let attempt = self.attempt(id);
                    *link = Link::Connecting(id, attempt.clone());
                    (id, attempt)
                }
            }
        };
        let outcome = attempt.await;
        if outcome.is_err() {
            // The attempt's task sets the state itself, unless it panicked or was aborted.
            self.inner.leave(id, Link::Down);
        }
        let (shared, times) = outcome.map_err(|error| error.to_status())?;
        Ok((shared, Some(times)))
    }

    /// Dials in a separate task, so that a cancelled call does not cancel the attempt for other calls, and the state is
    /// set even if all calls are cancelled.
    fn attempt(&self, id: AttemptId) -> SharedFuture<BoxFuture<'static, Connected>> {
        let inner = Arc::clone(&self.inner);
        // Boxed: spawning moves the future three times, and it is large.
        let task = tokio::spawn(Box::pin(async move {
            let result = inner.connect(id).await;
            match &result {
                Ok((shared, _)) => {
                    if !inner.leave(id, Link::Up(Arc::clone(shared))) {
                        // The channel was closed meanwhile.
                        shared.finish(SessionError::Closed);
                    }
                }
                Err(_) => {
                    inner.leave(id, Link::Down);
                }
            }
            result.map_err(Arc::new)
        }));
        async move { task.await.unwrap_or_else(|_| Err(Arc::new(ConnectError::Local))) }
            .boxed()
            .shared()
    }

    /// Sends a call, over a new session if necessary.
    async fn send(&self, call: &mut Call) -> Result<Started, Status> {
        let mut is_last = false;
        loop {
            let (shared, connect) = self.session().await?;
            match call.start(&shared, connect).await {
                Ok(started) => return Ok(started),
                Err(error) => {
                    let ended = shared.ended();
                    let is_refused = ended == Some(SessionError::NotAllowed);
                    if error == StreamError::GoingAway && !is_refused && !is_last {
                        // The session ended between the check and the call. Nothing was sent, so one retry is safe.
                        is_last = true;
                        continue;
                    }
                    let ended = ended.map(SessionError::into_status);
                    return Err(ended.unwrap_or_else(|| stream_status(error)));
                }
            }
        }
    }
}

impl Inner {
    /// The span attributes of the relay; none if its URL is invalid, which fails every call.
    fn relay(&self) -> Vec<KeyValue> {
        let read =
            || RelayUrl::parse(&self.ticket.relay_url).map_or_else(|_| Vec::new(), |url| url.attributes());
        self.relay.get_or_init(read).clone()
    }

    /// Dials until a session is established, while the error is temporary and the attempt is still needed.
    async fn connect(
        self: &Arc<Self>,
        id: AttemptId,
    ) -> Result<(Arc<SessionState>, ConnectTimes), ConnectError> {
        let started = clock::now();
        let config = &self.config;
        let mut retry = Retry::new(started, config.connect_timeout, self.jitter(id));
        let mut is_notified = false;
        let mut failed = None;
        loop {
            let options = RelayOptions {
                roots: config.relay_roots.clone(),
                network: config.network.clone(),
            };
            let dialling = dial(
                &self.ticket,
                &self.key,
                config.rekey_policy,
                config.recorder.clone(),
                options,
            );
            let dialled = match config.connect_timeout {
                Duration::ZERO => dialling.await,
                _ => match tokio::time::timeout_at(retry.deadline().into(), dialling).await {
                    Ok(dialled) => dialled,
                    // An earlier failure is more informative than the timeout.
                    Err(_) => return Err(failed.unwrap_or(ConnectError::NotInTime(config.connect_timeout))),
                },
            };
            let error = match dialled {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let now = clock::now();
            let Some(wait) = retry.after(&error, now).filter(|_| self.is_awaited(id)) else {
                return Err(error);
            };
            let left = retry.deadline().saturating_duration_since(now);
            if !is_notified && now + wait >= started + limits::WAITING_NOTICE {
                is_notified = true;
                if let Some(notify) = &config.on_waiting {
                    notify(&error, left);
                }
            }
            failed = Some(error);
            tokio::time::sleep(wait).await;
        }
    }

    /// A seed for the jitter. Random, because many processes with one key may start at once; the same in each replay of
    /// a simulation.
    fn jitter(&self, id: AttemptId) -> u64 {
        let mut jitter = [0; 8];
        if self.config.network.is_some() || getrandom::fill(&mut jitter).is_err() {
            jitter.copy_from_slice(&self.key.public().as_bytes()[..8]);
        }
        // xorshift64 yields only zeros from zero.
        u64::from_le_bytes(jitter).wrapping_add(id) | 1
    }

    /// Whether the attempt is current and its channel still in use: neither closed, nor dropped everywhere but here.
    fn is_awaited(self: &Arc<Self>, id: AttemptId) -> bool {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(self) > 1 && matches!(&*link, Link::Connecting(present, _) if *present == id)
    }

    /// Sets the state after an attempt. Returns `false`, and sets nothing, if the attempt is no longer current.
    fn leave(&self, id: AttemptId, next: Link) -> bool {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let is_present = matches!(&*link, Link::Connecting(present, _) if *present == id);
        if is_present {
            *link = next;
        }
        is_present
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Link::Up(shared) = self.link.get_mut().unwrap_or_else(PoisonError::into_inner) {
            shared.finish(SessionError::Closed);
        }
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = Call::new(request, &self.inner.config.recorder, || self.inner.relay());
        let channel = self.clone();
        Box::pin(async move {
            let sent = match call.deadline() {
                None => channel.send(&mut call).await,
                // After the call is sent, the session enforces the deadline.
                Some(deadline) => tokio::time::timeout_at(deadline.into(), channel.send(&mut call))
                    .await
                    .unwrap_or_else(|_| Err(reset_status(code::DEADLINE_EXCEEDED))),
            };
            match sent {
                Ok(started) => started.response().await,
                Err(status) => {
                    let source = status.source();
                    let error = source.and_then(|source| source.downcast_ref::<ConnectError>());
                    call.fail(&status, error.map(ConnectError::start_failure));
                    Err(status)
                }
            }
        })
    }
}
