//! The exec-server's side of the channel: serves a tonic service through a relay, without a listening socket.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use baton_export::clock;
use baton_noise::RekeyPolicy;
use baton_noise::key::{DialToken, KeyError, Seed, ServerKeys};
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::relay::Incoming;
use baton_proto::{Epoch, Features};
use baton_trace::recorder::Recorder;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::allow::{AllowError, AllowList};
use crate::limits;
use crate::link::accept::{AcceptPath, Acceptor, Origin, Refusal};
use crate::link::endpoint::{RelayError, RelayUrl};
use crate::link::network::Network;
use crate::link::register::{RegisterError, exec_server_id};
use crate::link::tls::roots::RelayRoots;
use crate::service::SessionError;
use crate::service::server::Service;
use crate::slots::{Slot, SlotLimits, Slots};
use crate::ticket::Ticket;
use registrations::{Failed, Registrations, Which};
use retries::RegistrationState;
use revocations::Revocations;
use served::{Opened, Served, Sign};
use sessions::Sessions;

mod registrations;
mod retries;
pub(crate) mod revocations;
mod served;
mod sessions;
mod watching;

/// An event that a running [`Server`] reports to its owner.
#[derive(Debug)]
pub enum Notice {
    /// The server is registered: its ticket works.
    Registered,
    /// The server has registered with another relay behind the same address, because a load balancer now sends its
    /// clients there. Its sessions go on.
    Moved,
    /// The server is not registered, or not with the relay that a load balancer now chooses. The next attempt follows
    /// after the given time.
    Retrying(RegisterError, Duration),
    /// The server refused a client whose key is not on the allow-list. The owner may want to add this key.
    Refused(baton_noise::key::PublicKey),
    /// The server refused a client with this name, whose line on the allow-list has expired.
    Expired(String),
    /// The allow-list, or one of its lines ([`AllowError::is_of_one_line`]), cannot be used. Affected clients are
    /// refused, with the reason, until the owner fixes it. After a bad line, open sessions of clients that the list
    /// still names go on. While the whole list is unusable, open sessions go on until their next rekey.
    AllowListUnusable(Arc<AllowError>),
    /// The server could not accept a dialled session, for this reason. The client is informed as well.
    AcceptFailed(String),
    /// A session of this client began: the client has sent a transport message, so message 1 was not replayed.
    SessionStarted(String),
    /// A session that had begun ended: the client's name, the reason, and the number of calls that were cut short. With
    /// no call cut short, a reason that only the relay reports is usually a client that disconnected.
    SessionEnded(String, SessionError, usize),
}

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The relay's URL is invalid.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The keys cannot be derived from the seed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The relay refuses the registration permanently.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The operating system's random generator failed.
    #[error("no randomness from the operating system")]
    Random,
}

/// Options of a [`Server`]. The defaults suit most uses.
pub struct ServerConfig {
    /// Trust roots for a relay whose URL is `https`. Default: the platform's.
    pub relay_roots: RelayRoots,
    /// Records every sampled call. Default: off.
    pub recorder: Recorder,
    /// When a session renews its keys. Sessions renew up to a tenth of the maximum age earlier, evenly spread
    /// ([`baton_noise::limits::REKEY_SPREAD`]).
    pub rekey_policy: RekeyPolicy,
    /// The limit on concurrent sessions; zero counts as one. Client keys share it ([`limits::SESSION_WEIGHT`]).
    /// Default: [`limits::EXEC_SERVER_SESSIONS`].
    pub max_sessions: usize,
    /// Time that open calls have to finish when the server shuts down. Default: [`limits::DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
    /// The network that reaches the relay. Default: TCP.
    pub network: Option<Network>,
    /// The current dial token and its later values, which replace the seed's first token ([`Seed::dial_token`]). After
    /// a change the server registers again at once, and the relay refuses dials with the old token. Sessions go on.
    pub dial_tokens: Option<watch::Receiver<DialToken>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            relay_roots: RelayRoots::default(),
            recorder: Recorder::off(),
            rekey_policy: RekeyPolicy::default(),
            max_sessions: limits::EXEC_SERVER_SESSIONS,
            drain_timeout: limits::DRAIN_TIMEOUT,
            network: None,
            dial_tokens: None,
        }
    }
}

/// Serves a tonic service through a relay.
pub struct Server {
    acceptor: Arc<Acceptor>,
    keys: ServerKeys,
    relay_url: String,
    on_notice: Arc<dyn Fn(Notice) + Send + Sync>,
    sessions: Arc<Sessions>,
    /// Slots of dials whose client's key is not known yet, from all registrations.
    half_open: Slots<Origin>,
    /// Later values of the dial token.
    dial_tokens: Option<watch::Receiver<DialToken>>,
    drain_timeout: Duration,
    /// The features that every handshake announces.
    features: Features,
}

impl Server {
    /// A server with the keys of `seed`, for the clients of `allow`, through the relay at `relay_url`.
    pub fn new(relay_url: &str, seed: &Seed, allow: AllowList) -> Result<Self, ServerError> {
        Self::with_config(relay_url, seed, allow, ServerConfig::default())
    }

    /// [`new`](Self::new) with options.
    pub fn with_config(
        relay_url: &str,
        seed: &Seed,
        allow: AllowList,
        config: ServerConfig,
    ) -> Result<Self, ServerError> {
        let ServerConfig {
            relay_roots,
            recorder,
            rekey_policy,
            max_sessions,
            drain_timeout,
            network,
            mut dial_tokens,
        } = config;
        let mut keys = seed.server_keys()?;
        if let Some(tokens) = &mut dial_tokens {
            keys.dial_token = tokens.borrow_and_update().clone();
        }
        let mut epoch = [0; 16];
        getrandom::fill(&mut epoch).map_err(|_| ServerError::Random)?;
        let acceptor = Acceptor {
            url: RelayUrl::parse(relay_url)?.with_roots(relay_roots).over(network),
            id: exec_server_id(&keys),
            key: Arc::new(seed.client_key()?),
            allow: Arc::new(allow),
            rekey: rekey_policy,
            handshakes: AtomicU64::new(0),
            epoch: Epoch(epoch),
            recorder,
            sessions: Slots::new(session_slots(max_sessions.max(1))),
            unconfirmed: Slots::new(SlotLimits {
                slots: limits::max_unconfirmed(max_sessions),
                weight: limits::UNCONFIRMED_WEIGHT,
                queue: limits::UNCONFIRMED_QUEUE,
            }),
            refusals: Slots::new(SlotLimits {
                slots: limits::MAX_REFUSALS,
                weight: 1,
                queue: 0,
            }),
        };
        Ok(Self {
            acceptor: Arc::new(acceptor),
            keys,
            relay_url: relay_url.into(),
            on_notice: Arc::new(|notice| tracing::debug!(?notice, "channel server")),
            sessions: Arc::default(),
            half_open: Slots::new(SlotLimits {
                slots: limits::MAX_HALF_OPEN,
                weight: 1,
                queue: limits::HALF_OPEN_QUEUE,
            }),
            dial_tokens,
            drain_timeout,
            features: Features::SUPPORTED.without_services(),
        })
    }

    /// Announces a feature of a service that is mounted, such as [`Features::FIND_UP`], to every client.
    /// `baton_exec_server::ExecServer` announces those of its own services.
    pub fn announce(mut self, feature: u32) -> Self {
        self.features = self.features.with(feature);
        self
    }

    /// Sets the callback for every [`Notice`]. It must not block.
    pub fn on_notice(mut self, on_notice: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        self.on_notice = Arc::new(on_notice);
        self
    }

    /// The ticket, with which clients reach this server.
    pub fn ticket(&self) -> Ticket {
        Ticket {
            relay_url: self.relay_url.clone(),
            exec_server: self.acceptor.id,
            noise_key: *self.acceptor.key.public(),
            dial_token: self.keys.dial_token.clone(),
        }
    }

    /// The epoch of this server, which every handshake sends to the client.
    pub fn epoch(&self) -> Epoch {
        self.acceptor.epoch
    }

    /// Where to watch something of a client that outlives the client's sessions.
    pub fn revocations(&self) -> Revocations {
        let is_watched = self.acceptor.allow.watch().is_some();
        Revocations::new(is_watched.then(|| Arc::clone(&self.sessions)))
    }

    /// Registers and serves until `shutdown` resolves. Registers again after each loss of the relay. Also asks every
    /// [`limits::HERE_INTERVAL`] whether the relay that a load balancer chooses has the registration. If not, it
    /// registers there, and keeps the earlier registration for [`limits::REGISTRATION_KEPT`]. Sessions go on in every
    /// case.
    ///
    /// While sessions are open, or something is [watched](Self::revocations), the server reads an allow-list file every
    /// [`limits::ALLOW_LIST_LOOK`]. If a client's key is removed or expires, its sessions end within a second with that
    /// reason. A changed trust, and a changed option of its line ([`Peer::options`](crate::allow::Peer::options)),
    /// apply to later calls.
    ///
    /// A `service` that does more than to run the forced command of a client that has one
    /// ([`ClientOptions::command`](crate::allow::ClientOptions::command)) must refuse such a client itself.
    ///
    /// After `shutdown` the server accepts no further call. Open calls have [`ServerConfig::drain_timeout`] to finish.
    ///
    /// # Errors
    /// A cause that no retry can change, before the first registration. A later refusal is retried: the relay may be
    /// misconfigured for a while, or hostile.
    pub async fn serve(
        mut self,
        service: impl Service,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let mut shutdown = pin!(shutdown);
        let mut state = RegistrationState::new(self.acceptor.id);
        let _watching = self.watch_allow_list();
        let mut dial_tokens = self.dial_tokens.take();
        loop {
            let serving = self.serve_registrations(&service, &mut state);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                token = changed(&mut dial_tokens) => {
                    // The registrations with the old token have been dropped.
                    self.keys.dial_token = token;
                }
                error = serving => return Err(error.into()),
            }
        }
        self.sessions.close(self.drain_timeout).await;
        Ok(())
    }

    /// Starts a task that applies the allow-list to open sessions. Drop of the returned set stops it.
    fn watch_allow_list(&self) -> JoinSet<()> {
        let mut watching = JoinSet::new();
        if let Some(watch) = self.acceptor.allow.watch() {
            let (sessions, notice) = (Arc::clone(&self.sessions), Arc::clone(&self.on_notice));
            watching.spawn(async move {
                let report = |problem| notice(Notice::AllowListUnusable(Arc::new(problem)));
                watching::apply_allow_list(watch, &sessions, SystemTime::now, report).await;
            });
        }
        watching
    }

    /// Registers and serves, again and again. Returns only an error that no retry can change, before the first
    /// registration. Drop ends the registrations.
    async fn serve_registrations(
        &self,
        service: &impl Service,
        state: &mut RegistrationState,
    ) -> RegisterError {
        let mut registrations = Registrations::new(state, clock::now());
        let mut attempt: Option<BoxFuture<'_, Result<Opened<'_>, RegisterError>>> = None;
        loop {
            let now = clock::now();
            registrations.drop_expired(now);
            if let Some(error) = registrations.silence(now) {
                self.ended(&mut registrations, Which::Current, error);
            }
            if registrations.begin_attempt(now) {
                let take = move |incoming, path: &AcceptPath| self.take(incoming, path, service);
                attempt = Some(Served::open(&self.acceptor.url, &self.keys, take).boxed());
            }
            let wake = registrations.wake();
            let (current, kept) = registrations.both();
            let (which, sign) = tokio::select! {
                biased;
                sign = next(current, Served::sign) => (Which::Current, sign),
                sign = next(kept, Served::sign) => (Which::Kept, sign),
                opened = next(attempt.as_mut(), |attempt| attempt) => {
                    attempt = None;
                    if let Some(error) = self.attempted(&mut registrations, opened) {
                        return error;
                    }
                    continue;
                }
                () = next(wake, |wake| tokio::time::sleep_until(wake.into())) => continue,
            };
            match sign {
                Sign::Pinged => registrations.pinged(which, clock::now()),
                Sign::Here(is_registered) => registrations.here(which, is_registered, clock::now()),
                Sign::Ended(error) => self.ended(&mut registrations, which, error),
            }
        }
    }

    /// Handles the result of an attempt to register. Returns an error that no retry can change.
    fn attempted<'s>(
        &self,
        registrations: &mut Registrations<'_, Served<'s>>,
        opened: Result<Opened<'s>, RegisterError>,
    ) -> Option<RegisterError> {
        let now = clock::now();
        let error = match opened {
            Ok((served, patience)) => {
                (self.on_notice)(match registrations.registered(served, patience, now) {
                    true => Notice::Moved,
                    false => Notice::Registered,
                });
                return None;
            }
            Err(error) if error.is_permanent() && !registrations.was_registered() => return Some(error),
            Err(error) => error,
        };
        match registrations.failed(&error, now) {
            Failed::Retry(wait) => (self.on_notice)(Notice::Retrying(error, wait)),
            Failed::Stays => tracing::debug!("the relay still has the present registration"),
            Failed::Returned => {
                (self.on_notice)(Notice::Registered);
                // A load balancer's table names the relay that was lost.
                if let (Some(current), _) = registrations.both() {
                    current.announce();
                }
            }
        }
        None
    }

    fn ended(&self, registrations: &mut Registrations<'_, Served<'_>>, which: Which, error: RegisterError) {
        match registrations.ended(which, &error, clock::now()) {
            Some(wait) => (self.on_notice)(Notice::Retrying(error, wait)),
            None => tracing::debug!("an earlier registration ended: {error}"),
        }
    }

    /// Starts a task that serves one session once its origin has a handshake slot. Returns `incoming` if the origin's
    /// share of the queue is full.
    fn take(&self, incoming: Incoming, path: &AcceptPath, service: &impl Service) -> Result<(), Incoming> {
        let notice = Arc::clone(&self.on_notice);
        let Ok(request) = self.half_open.request(Origin::of(&incoming)) else {
            notice(Notice::AcceptFailed(
                "too many dials from its network are waiting; its client was asked to retry".into(),
            ));
            return Err(incoming);
        };
        let session = Dialled {
            acceptor: Arc::clone(&self.acceptor),
            sessions: Arc::clone(&self.sessions),
            path: path.clone(),
            service: service.clone(),
            notice,
            features: self.features,
        };
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, request.granted()).await {
                // Boxed, so that the task of a waiting dial stays small.
                Ok(slot) => Box::pin(session.serve(incoming, slot)).await,
                Err(_) => (session.notice)(Notice::AcceptFailed(
                    "its network had no free handshake slot in time; the relay has informed its client"
                        .into(),
                )),
            }
        });
        Ok(())
    }
}

/// Waits for what `wait` returns, forever if there is nothing to wait for.
async fn next<T, F: Future>(from: Option<T>, wait: impl FnOnce(T) -> F) -> F::Output {
    match from {
        Some(from) => wait(from).await,
        None => std::future::pending().await,
    }
}

/// Waits for the next dial token, possibly forever.
async fn changed(tokens: &mut Option<watch::Receiver<DialToken>>) -> DialToken {
    if let Some(tokens) = tokens
        && tokens.changed().await.is_ok()
    {
        return tokens.borrow_and_update().clone();
    }
    std::future::pending().await
}

fn session_slots(sessions: usize) -> SlotLimits {
    SlotLimits {
        slots: sessions,
        weight: limits::SESSION_WEIGHT,
        queue: limits::SESSION_QUEUE,
    }
}

/// A dialled session, with everything that serving it needs.
struct Dialled<S> {
    acceptor: Arc<Acceptor>,
    sessions: Arc<Sessions>,
    path: AcceptPath,
    service: S,
    notice: Arc<dyn Fn(Notice) + Send + Sync>,
    features: Features,
}

impl<S: Service> Dialled<S> {
    /// Accepts the session and serves it until it ends.
    async fn serve(self, incoming: Incoming, slot: Slot<Origin>) {
        let Self {
            acceptor,
            sessions,
            path,
            service,
            notice,
            features,
        } = self;
        let accepted = match acceptor.accept(&path, incoming, slot, features).await {
            Ok(accepted) => accepted,
            Err(error) => return notice(Notice::AcceptFailed(error.to_string())),
        };
        match accepted.peer() {
            Ok(peer) => {
                let name = peer.name.clone();
                sessions.add(accepted.shared(), Arc::clone(peer));
                let shared = Arc::clone(accepted.shared());
                let began = || notice(Notice::SessionStarted(name.clone()));
                let error = accepted.serve(service, began).await;
                notice(match shared.is_confirmed() {
                    true => Notice::SessionEnded(name, error, shared.cut_calls()),
                    false => Notice::AcceptFailed(error.to_string()),
                });
            }
            Err(refusal) => {
                notice(match refusal {
                    Refusal::Unlisted(key) => Notice::Refused(*key),
                    Refusal::Expired(name) => Notice::Expired(name.clone()),
                    Refusal::ListUnusable(error) => Notice::AllowListUnusable(Arc::clone(error)),
                    Refusal::NoSession(peer) => Notice::AcceptFailed(format!(
                        "{} uses its share of the sessions, and was asked to retry",
                        peer.name
                    )),
                });
                if matches!(refusal, Refusal::Unlisted(_)) {
                    // A line with an unreadable key may be meant for this client.
                    for problem in acceptor.allow.problems() {
                        notice(Notice::AllowListUnusable(Arc::new(problem)));
                    }
                }
                accepted.serve(service, || ()).await;
            }
        }
    }
}
