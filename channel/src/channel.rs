//! The client's end: a tonic channel to one exec-server, over one warm session.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_export::clock;
use baton_mux::{StreamError, code};
use baton_noise::RekeyPolicy;
use baton_noise::key::StaticKey;
use baton_proto::Epoch;
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
use crate::service::shared::Shared;
use crate::service::{reset_status, stream_status};
use crate::ticket::Ticket;

/// A channel for tonic's generated clients: end-to-end encrypted, multiplexed over one session that is made at the
/// first call, kept warm, and made again when it has ended. Cheap to clone; the session ends with the last clone.
///
/// A call that finds no session waits for one; its trace shows that as `connect.*` stages. A call that was cut short
/// by the end of a session fails with `Unavailable` and is not repeated: only its caller knows whether it may be.
///
/// Errors arrive as [`tonic::Status`] whose source is a [`ConnectError`] or a [`SessionError`].
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

/// How a [`Channel`] works; the default suits most.
#[derive(Clone)]
pub struct ChannelConfig {
    /// Trust roots for a relay whose URL is `https`. Default: the platform's.
    pub relay_roots: RelayRoots,
    /// Records every call. Default: off.
    pub recorder: Recorder,
    /// When the keys of a session are renewed.
    pub rekey_policy: RekeyPolicy,
    /// Another network than TCP to reach the relay over.
    pub network: Option<Network>,
    /// How long a call that needs a session waits for one while the cause can pass: a relay or an exec-server that restarts, or is full. Zero
    /// is one attempt. A cause that cannot pass fails the call at once. Default: [`limits::CONNECT_PATIENCE`].
    pub connect_timeout: Duration,
    /// Is told once for each session that takes longer than [`limits::WAITING_NOTICE`] to be made. Must not block.
    pub on_waiting: Option<OnWaiting>,
}

/// Is told why there is no session yet, and how long the channel goes on trying.
pub type OnWaiting = Arc<dyn Fn(&ConnectError, Duration) + Send + Sync>;

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            relay_roots: RelayRoots::default(),
            recorder: Recorder::off(),
            rekey_policy: RekeyPolicy::default(),
            network: None,
            connect_timeout: limits::CONNECT_PATIENCE,
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
    /// The relay's address, as spans name it.
    relay: OnceLock<Vec<KeyValue>>,
}

/// The session's supervisor.
enum Link {
    Down,
    /// Everybody who needs the session waits for the same attempt, which itself moves the link on.
    Connecting(AttemptId, SharedFuture<BoxFuture<'static, Connected>>),
    Up(Arc<Shared>),
}

/// Tells one attempt of a channel from another.
type AttemptId = u64;

type Connected = Result<(Arc<Shared>, ConnectTimes), Arc<ConnectError>>;

impl Channel {
    /// A channel to the exec-server of `ticket`, as the client that `key` identifies. Connects at the first call.
    pub fn new(ticket: Ticket, key: StaticKey) -> Self {
        Self::with_config(ticket, key, ChannelConfig::default())
    }

    /// As [`new`](Self::new), configured.
    pub fn with_config(ticket: Ticket, key: StaticKey, config: ChannelConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                ticket,
                key: Arc::new(key),
                config,
                link: Mutex::new(Link::Down),
                attempts: AtomicU64::new(0),
                relay: OnceLock::new(),
            }),
        }
    }

    /// Whether every call is recorded.
    pub fn is_recording(&self) -> bool {
        self.inner.config.recorder.is_on()
    }

    /// How often the present session has renewed its keys.
    pub fn rekeys(&self) -> u64 {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.renewals(),
            Link::Down | Link::Connecting(..) => 0,
        }
    }

    /// Makes the session now, and returns the epoch of the exec-server's present life.
    pub async fn connect(&self) -> Result<Epoch, Status> {
        let (shared, _) = self.session().await?;
        shared.epoch().ok_or_else(|| SessionError::Closed.into_status())
    }

    /// The epoch of the exec-server's present life, as far as the present session knows it.
    pub fn epoch(&self) -> Option<Epoch> {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.epoch(),
            Link::Down | Link::Connecting(..) => None,
        }
    }

    /// Ends the session once what is queued has been sent, or after [`crate::limits::CLOSE_TIMEOUT`]. Calls under way fail; a
    /// later call makes a new session.
    pub async fn close(&self) {
        let link = std::mem::replace(
            &mut *self.inner.link.lock().unwrap_or_else(PoisonError::into_inner),
            Link::Down,
        );
        if let Link::Up(shared) = link {
            shared.finish(SessionError::Closed);
            shared.flushed().await;
        }
    }

    /// The session and, if this call had to wait for it, when it was made.
    async fn session(&self) -> Result<(Arc<Shared>, Option<ConnectTimes>), Status> {
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
            // For a task that could not come to its own end.
            self.inner.leave(id, Link::Down);
        }
        let (shared, times) = outcome.map_err(|error| error.to_status())?;
        Ok((shared, Some(times)))
    }

    /// Dials in a task of its own, so that a caller who gives up does not take the others' session with it, and the
    /// outcome is dealt with even when all of them have.
    fn attempt(&self, id: AttemptId) -> SharedFuture<BoxFuture<'static, Connected>> {
        let inner = Arc::clone(&self.inner);
        // In one place from first to last: handing it over to the runtime moves it three times, and it is large.
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

    /// Sends a call, over a new session if need be.
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
                        // The session ended between the look at it and the call: nothing was sent, one more try.
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
    /// What spans say of the relay; nothing where its URL is none, which every call fails with.
    fn relay(&self) -> Vec<KeyValue> {
        let read =
            || RelayUrl::parse(&self.ticket.relay_url).map_or_else(|_| Vec::new(), |url| url.attributes());
        self.relay.get_or_init(read).clone()
    }

    /// Dials until there is a session, for as long as that can help and somebody waits for it.
    async fn connect(self: &Arc<Self>, id: AttemptId) -> Result<(Arc<Shared>, ConnectTimes), ConnectError> {
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
                    // What has gone wrong before says more.
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

    /// Random: many processes of one key are started at once. In a simulation the same each time.
    fn jitter(&self, id: AttemptId) -> u64 {
        let mut jitter = [0; 8];
        if self.config.network.is_some() || getrandom::fill(&mut jitter).is_err() {
            jitter.copy_from_slice(&self.key.public().as_bytes()[..8]);
        }
        // Never zero, from which no jitter comes.
        u64::from_le_bytes(jitter).wrapping_add(id) | 1
    }

    /// Whether the attempt is still the present one. A channel that was closed, or dropped by all but this attempt, waits for nothing.
    fn is_awaited(self: &Arc<Self>, id: AttemptId) -> bool {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(self) > 1 && matches!(&*link, Link::Connecting(present, _) if *present == id)
    }

    /// The attempt is over; `false` if it was not the present one any more.
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
                // Once it is sent, the session watches the deadline.
                Some(deadline) => tokio::time::timeout_at(deadline.into(), channel.send(&mut call))
                    .await
                    .unwrap_or_else(|_| Err(reset_status(code::DEADLINE_EXCEEDED))),
            };
            match sent {
                Ok(started) => started.response().await,
                Err(status) => {
                    call.fail(&status);
                    Err(status)
                }
            }
        })
    }
}
