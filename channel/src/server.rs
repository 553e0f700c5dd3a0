//! The exec-server's end: a tonic service, reachable through a relay, that listens on nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use baton_export::clock;
use baton_noise::RekeyPolicy;
use baton_noise::key::{DialToken, KeyError, Seed, ServerKeys};
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use baton_proto::relay::Incoming;
use baton_proto::{Epoch, ExecServerId};
use baton_trace::recorder::Recorder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::allow::{AllowError, AllowList};
use crate::limits;
use crate::link::accept::{Acceptor, Origin, Refusal};
use crate::link::endpoint::{RelayError, RelayUrl};
use crate::link::network::Network;
use crate::link::pool::Pool;
use crate::link::register::{RegisterError, Registration, exec_server_id};
use crate::link::tls::roots::RelayRoots;
use crate::service::SessionError;
use crate::service::server::Service;
use crate::slots::{Slot, SlotLimits, Slots};
use crate::ticket::Ticket;
use sessions::Sessions;

mod sessions;

/// What a running server tells its owner.
#[derive(Debug)]
pub enum Notice {
    /// Registered: the ticket works from now on.
    Registered,
    /// Not registered; the next attempt follows after the given time.
    Retrying(RegisterError, Duration),
    /// A client whose key is not on the allow-list; its owner may want to add this key.
    Refused(baton_noise::key::PublicKey),
    /// The allow-list cannot be used as it is, or one of its lines cannot ([`AllowError::is_of_one_line`]). The clients that it concerns
    /// are refused until it can, and are told why. Open sessions whose keys it still names go on; while it cannot be used at all, they do
    /// until their next rekey.
    AllowListUnusable(Arc<AllowError>),
    /// A session could not be taken over; its client knows as much.
    AcceptFailed(String),
    /// A session of this client began: the client has proven that it is there.
    SessionStarted(String),
    /// A session that had begun ended, why, and how many calls were cut short by it. Clients come and go: where there were none, a
    /// reason that only the relay tells matters little.
    SessionEnded(String, SessionError, usize),
}

/// A server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The relay's URL.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The relay refuses for good.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// No randomness from the operating system.
    #[error("no randomness from the operating system")]
    Random,
}

/// How a [`Server`] works; the default suits most.
pub struct ServerConfig {
    /// Trust roots for a relay whose URL is `https`. Default: the platform's.
    pub relay_roots: RelayRoots,
    /// Records every sampled call. Default: off.
    pub recorder: Recorder,
    /// When the keys of a session are renewed; each session's up to a tenth of its age sooner ([`baton_noise::limits::REKEY_SPREAD`]).
    pub rekey_policy: RekeyPolicy,
    /// Sessions at once; zero counts as one. Clients share them by key ([`limits::SESSION_WEIGHT`]). Default:
    /// [`limits::EXEC_SERVER_SESSIONS`].
    pub max_sessions: usize,
    /// Another network than TCP to reach the relay over.
    pub network: Option<Network>,
    /// Dial tokens in place of the first of the seed ([`Seed::dial_token`]): the present one, and each that it is changed to. After a
    /// change the server registers anew at once, and the relay refuses dials with the token before. Sessions go on.
    pub dial_tokens: Option<watch::Receiver<DialToken>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            relay_roots: RelayRoots::default(),
            recorder: Recorder::off(),
            rekey_policy: RekeyPolicy::default(),
            max_sessions: limits::EXEC_SERVER_SESSIONS,
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
    /// Of dials whose client is not known yet, whichever registration they came by.
    half_open: Slots<Origin>,
    /// The dial token from now on, whenever it changes.
    dial_tokens: Option<watch::Receiver<DialToken>>,
}

impl Server {
    /// A server with the keys of `seed`, for the clients of `allow`, through the relay at `relay_url`.
    pub fn new(relay_url: &str, seed: &Seed, allow: AllowList) -> Result<Self, ServerError> {
        Self::with_config(relay_url, seed, allow, ServerConfig::default())
    }

    /// As [`new`](Self::new), configured.
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
            farewells: Slots::new(SlotLimits {
                slots: limits::MAX_FAREWELLS,
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
        })
    }

    /// Tells what happens; must not block.
    pub fn on_notice(mut self, on_notice: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        self.on_notice = Arc::new(on_notice);
        self
    }

    /// What callers need to reach this server.
    pub fn ticket(&self) -> Ticket {
        Ticket {
            relay_url: self.relay_url.clone(),
            exec_server: self.acceptor.id,
            noise_key: *self.acceptor.key.public(),
            dial_token: self.keys.dial_token.clone(),
        }
    }

    /// This life of the server, told in every handshake.
    pub fn epoch(&self) -> Epoch {
        self.acceptor.epoch
    }

    /// Registers and serves until `shutdown` resolves, registering again whenever the relay is lost. Returns an error
    /// only for what no retry can change, and only as long as it was never registered: a relay that refuses later may be set up
    /// wrong for a while, or hostile. After `shutdown` no call is taken any more; those that are open have
    /// [`limits::DRAIN_TIMEOUT`] to be answered. Meanwhile an allow-list in a file is looked at every
    /// [`limits::ALLOW_LIST_LOOK`]: a client whose key is gone from it is told so and its sessions end, within a
    /// second; another trust counts for the calls that come then.
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
            let attempt = self.serve_registration(&service, &mut state);
            let error = tokio::select! {
                biased;
                () = &mut shutdown => break,
                token = changed(&mut dial_tokens) => Err(token),
                error = attempt => Ok(error),
            };
            let error = match error {
                Ok(error) => error,
                Err(token) => {
                    // The registration with the one before has been dropped.
                    self.keys.dial_token = token;
                    continue;
                }
            };
            if error.is_permanent() && !state.was_registered {
                return Err(error.into());
            }
            let wait = state.lost(clock::now(), error.is_relay_decision());
            (self.on_notice)(Notice::Retrying(error, wait));
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.sessions.close().await;
        Ok(())
    }

    /// Ends the sessions of clients that are taken off the allow-list, and trusts the others as it says, until what is returned is
    /// dropped.
    fn watch_allow_list(&self) -> JoinSet<()> {
        let mut watching = JoinSet::new();
        if let Some(mut watch) = self.acceptor.allow.watch() {
            let (sessions, notice) = (Arc::clone(&self.sessions), Arc::clone(&self.on_notice));
            watching.spawn(async move {
                loop {
                    sessions.any().await;
                    tokio::time::sleep(limits::ALLOW_LIST_LOOK).await;
                    for problem in watch.reread() {
                        notice(Notice::AllowListUnusable(Arc::new(problem)));
                    }
                    sessions.apply_allow_list(|key| watch.standing(key));
                }
            });
        }
        watching
    }

    async fn serve_registration(
        &self,
        service: &impl Service,
        state: &mut RegistrationState,
    ) -> RegisterError {
        let opened = async {
            let registration = Registration::open(&self.acceptor.url, &self.keys).await?;
            Ok((registration, Pool::open(self.acceptor.url.clone()).await?))
        };
        let (mut registration, pool) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        let mut closing = JoinSet::new();
        closing.spawn({
            let pool = Arc::clone(&pool);
            async move { pool.close_idle().await }
        });
        state.registered(clock::now());
        (self.on_notice)(Notice::Registered);
        loop {
            let took = match registration.incoming().await {
                Ok(incoming) => self.take(incoming, &pool, service),
                Err(error) => return error,
            };
            if let Err(surplus) = took
                && let Err(error) = registration.decline(surplus).await
            {
                return error;
            }
        }
    }

    /// Serves one session in a task of its own, when its origin's turn has come; gives it back if that has a full share of the queue.
    fn take(&self, incoming: Incoming, pool: &Arc<Pool>, service: &impl Service) -> Result<(), Incoming> {
        let notice = Arc::clone(&self.on_notice);
        let Ok(request) = self.half_open.request(Origin::of(&incoming)) else {
            notice(Notice::AcceptFailed(
                "too many dials of its network wait already; its client was told to try again".into(),
            ));
            return Err(incoming);
        };
        let session = Dialled {
            acceptor: Arc::clone(&self.acceptor),
            sessions: Arc::clone(&self.sessions),
            pool: Arc::clone(pool),
            service: service.clone(),
            notice,
        };
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, request.granted()).await {
                // One that only waits is small.
                Ok(slot) => Box::pin(session.serve(incoming, slot)).await,
                Err(_) => (session.notice)(Notice::AcceptFailed(
                    "it waited too long for others of its network; the relay has told its client".into(),
                )),
            }
        });
        Ok(())
    }
}

/// The next dial token; there may never be one.
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

/// A session that was dialled, and what serving it takes.
struct Dialled<S> {
    acceptor: Arc<Acceptor>,
    sessions: Arc<Sessions>,
    pool: Arc<Pool>,
    service: S,
    notice: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl<S: Service> Dialled<S> {
    /// Takes it over and serves it to its end.
    async fn serve(self, incoming: Incoming, slot: Slot<Origin>) {
        let Self {
            acceptor,
            sessions,
            pool,
            service,
            notice,
        } = self;
        let accepted = match acceptor.accept(&pool, incoming, slot).await {
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
                    Refusal::ListUnusable(error) => Notice::AllowListUnusable(Arc::clone(error)),
                    Refusal::NoSession(peer) => Notice::AcceptFailed(format!(
                        "{} has its share of the sessions, and was told to try again",
                        peer.name
                    )),
                });
                if matches!(refusal, Refusal::Unlisted(_)) {
                    // A line whose key cannot be read may be this client's.
                    for problem in acceptor.allow.problems() {
                        notice(Notice::AllowListUnusable(Arc::new(problem)));
                    }
                }
                accepted.serve(service, || ()).await;
            }
        }
    }
}

/// How registering has gone so far.
struct RegistrationState {
    backoff: Backoff,
    was_registered: bool,
    /// When the registration that holds came about.
    since: Option<Instant>,
    /// When the last registration that had held was lost, or the first attempt failed.
    lost: Option<Instant>,
}

impl RegistrationState {
    fn new(server: ExecServerId) -> Self {
        Self {
            backoff: Backoff::new(server),
            was_registered: false,
            since: None,
            lost: None,
        }
    }

    fn registered(&mut self, now: Instant) {
        self.was_registered = true;
        self.since = Some(now);
    }

    /// How long to wait after an attempt has failed, or its registration has ended. `is_relay_decision`: the relay itself refused or ended it.
    fn lost(&mut self, now: Instant, is_relay_decision: bool) -> Duration {
        let since = self.since.take();
        let has_held = |limit| since.is_some_and(|since| now.saturating_duration_since(since) >= limit);
        if is_relay_decision {
            if has_held(limits::REGISTRATION_HELD) {
                self.backoff.reset();
            }
            return self.backoff.next();
        }
        if has_held(limits::REDIAL_HELD) {
            self.lost = Some(now);
            self.backoff.reset();
        }
        let lost = *self.lost.get_or_insert(now);
        match now.saturating_duration_since(lost) < limits::REDIAL_FOR {
            true => self.backoff.redial(),
            false => self.backoff.next(),
        }
    }
}

/// Exponential, with jitter: a relay that comes back is not met by every exec-server at once. The jitter is taken from the
/// exec-server's id, a hash: as good as random from one server to the next, and the same when a simulation is replayed.
struct Backoff {
    attempt: u32,
    jitter: u64,
}

impl Backoff {
    fn new(server: ExecServerId) -> Self {
        Self {
            attempt: 0,
            jitter: server.first_bytes(),
        }
    }

    fn next(&mut self) -> Duration {
        let (first, longest) = limits::RECONNECT_BACKOFF;
        let full = first.saturating_mul(1 << self.attempt.min(16)).min(longest);
        self.attempt += 1;
        full.mul_f64(0.5 + 0.5 * self.spread())
    }

    /// [`limits::REDIAL_EVERY`], by up to half of it more or less.
    fn redial(&mut self) -> Duration {
        limits::REDIAL_EVERY.mul_f64(0.5 + self.spread())
    }

    fn reset(&mut self) {
        self.attempt = 0;
    }

    /// From 0 to 1.
    fn spread(&mut self) -> f64 {
        self.jitter = self.jitter.rotate_left(16);
        (self.jitter % (1 << 16)) as f64 / f64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ExecServerId = ExecServerId([7; 16]);

    /// Attempts in ten minutes at a relay that ends each registration after this time.
    fn attempts(held: Duration, is_relay_decision: bool) -> usize {
        let mut state = RegistrationState::new(SERVER);
        let mut now = clock::now();
        let end = now + Duration::from_secs(600);
        let attempt = || {
            state.registered(now);
            now += held;
            now += state.lost(now, is_relay_decision);
            now < end
        };
        std::iter::repeat_with(attempt)
            .take_while(|goes_on| *goes_on)
            .count()
    }

    #[test]
    fn a_relay_that_ends_each_registration_at_once_is_asked_less_and_less_often() {
        let told = attempts(Duration::from_millis(100), true);
        assert!((60..140).contains(&told), "{told}");
        // And one that drops it without a word, once the time in which it may be back soon is over.
        let dropped = attempts(Duration::from_millis(100), false);
        assert!((120..300).contains(&dropped), "{dropped}");
        // One that held was a relay that was well: it is back soon.
        let mut state = RegistrationState::new(SERVER);
        let now = clock::now();
        state.registered(now);
        let waits = [(); 2].map(|()| state.lost(now + limits::REGISTRATION_HELD, true));
        let first = limits::RECONNECT_BACKOFF.0;
        assert!(waits[0] <= first && waits[1] > first, "once: {waits:?}");
    }

    #[test]
    fn a_lost_relay_is_redialled_without_a_pause_for_half_a_minute_and_then_less_often() {
        let mut state = RegistrationState::new(SERVER);
        let start = clock::now();
        state.registered(start);
        let lost = start + limits::REDIAL_HELD;
        let mut now = lost;
        let (mut soon, mut late) = (0, 0);
        while now < lost + limits::REDIAL_FOR * 4 {
            let wait = state.lost(now, false);
            if now < lost + limits::REDIAL_FOR {
                let least = limits::REDIAL_EVERY / 2;
                assert!((least..=3 * least).contains(&wait), "{wait:?}");
                soon += 1;
            } else {
                late += 1;
            }
            now += wait;
        }
        assert!(
            (100..300).contains(&soon) && (10..25).contains(&late),
            "{soon}, {late}"
        );
    }

    #[test]
    fn restarts_one_after_the_other_do_not_add_up() {
        let mut state = RegistrationState::new(SERVER);
        let mut now = clock::now();
        for _ in 0..100 {
            state.registered(now);
            now += limits::REDIAL_HELD;
            let wait = state.lost(now, false);
            assert!(wait <= limits::REDIAL_EVERY * 3 / 2, "{wait:?}");
            now += wait;
        }
    }
}
