//! An open registration while it is served: announced dials become sessions, pings are answered, and the relay that a
//! load balancer chooses is asked whether it has the registration.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use baton_noise::key::ServerKeys;
use baton_proto::relay::Incoming;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::retries::Jitter;
use crate::limits;
use crate::link::accept::AcceptPath;
use crate::link::endpoint::RelayUrl;
use crate::link::pool::Pool;
use crate::link::register::{HereAnswer, HereClient, Received, RegisterError, Registration, exec_server_id};

/// Makes progress while [`sign`](Self::sign) is polled. Drop ends the registration; its sessions go on.
pub(super) struct Served<'s> {
    serving: BoxFuture<'s, RegisterError>,
    signs: mpsc::Receiver<Sign>,
    announce: Arc<Notify>,
}

/// An event of a served registration.
#[derive(Debug)]
pub(super) enum Sign {
    /// Its relay has pinged.
    Pinged,
    /// The relay that a load balancer chooses now has a registration of this server, or has none.
    Here(bool),
    /// It has ended.
    Ended(RegisterError),
}

/// A registration that succeeded, and the patience with its relay's pings.
pub(super) type Opened<'s> = (Served<'s>, Option<Duration>);

impl<'s> Served<'s> {
    /// Registers over new connections with the relay that `url` leads to now. `take` begins a session for an announced
    /// dial, or returns a dial that is to be declined.
    pub(super) async fn open(
        url: &RelayUrl,
        keys: &ServerKeys,
        take: impl Fn(Incoming, &AcceptPath) -> Result<(), Incoming> + Send + 's,
    ) -> Result<Opened<'s>, RegisterError> {
        let (registration, here) = Registration::open(url, keys).await?;
        let pool = Pool::open(url.clone()).await?;
        let patience = registration.patience();
        let path = AcceptPath {
            pool: Arc::clone(&pool),
            decliner: registration.decliner(),
        };
        let (report, signs) = mpsc::channel(limits::REGISTRATION_SIGNS);
        let jitter = Jitter::new(exec_server_id(keys));
        let announce = Arc::<Notify>::default();
        let announced = Arc::clone(&announce);
        let serving = async move {
            let _retire = RetireOnDrop(&pool);
            let asking = ask(here, jitter, patience.is_some(), announced, report.clone());
            tokio::select! {
                error = receive(registration, path, take, report) => error,
                never = asking => match never {},
                never = pool.close_idle() => match never {},
            }
        };
        let serving = serving.boxed();
        let served = Self {
            serving,
            signs,
            announce,
        };
        Ok((served, patience))
    }

    /// Asks at once, so that a load balancer's table gets this registration's relay. The next [`sign`](Self::sign) does
    /// it.
    pub(super) fn announce(&self) {
        self.announce.notify_one();
    }

    /// Waits for the next sign. Cancellation safe. Must not be called after [`Sign::Ended`].
    pub(super) async fn sign(&mut self) -> Sign {
        tokio::select! {
            biased;
            error = &mut self.serving => Sign::Ended(error),
            Some(sign) = self.signs.recv() => sign,
        }
    }
}

/// Retires the connections of a registration that has ended.
struct RetireOnDrop<'p>(&'p Pool);

impl Drop for RetireOnDrop<'_> {
    fn drop(&mut self) {
        self.0.retire();
    }
}

/// Takes announced dials and answers pings until the registration ends.
async fn receive(
    mut registration: Registration,
    path: AcceptPath,
    take: impl Fn(Incoming, &AcceptPath) -> Result<(), Incoming>,
    report: mpsc::Sender<Sign>,
) -> RegisterError {
    loop {
        let surplus = match registration.receive().await {
            Ok(Received::Incoming(incoming)) => take(incoming, &path).err(),
            Ok(Received::Ping) => {
                let _ = report.send(Sign::Pinged).await;
                None
            }
            Err(error) => return error,
        };
        if let Some(surplus) = surplus
            && let Err(error) = registration.decline(&surplus).await
        {
            return error;
        }
    }
}

/// Asks regularly, soon after the start, and at each `announce`. Stops asking a relay of an earlier version. A relay
/// that pings knows the question (`knows_here`): an answer that it is unknown comes from another relay then, which may
/// be upgraded later.
///
/// The early questions are for a load balancer's table, which stores the relay that answers by OK. For
/// [`limits::HERE_EARLY`] NOT_FOUND moves nothing: a balancer that sends `Register` and `Here` to different relays
/// would otherwise cause registrations without a pause.
async fn ask(
    mut here: HereClient,
    mut jitter: Jitter,
    knows_here: bool,
    announce: Arc<Notify>,
    report: mpsc::Sender<Sign>,
) -> Infallible {
    let mut early_until = Instant::now() + limits::HERE_EARLY;
    let mut pause = limits::HERE_FIRST;
    loop {
        if timeout(pause, announce.notified()).await.is_ok() {
            early_until = Instant::now() + limits::HERE_EARLY;
        }
        match here.ask().await {
            HereAnswer::Registered => drop(report.send(Sign::Here(true)).await),
            HereAnswer::Unsupported if !knows_here => return std::future::pending().await,
            _ if Instant::now() < early_until => {
                pause = limits::HERE_EARLY_INTERVAL;
                continue;
            }
            HereAnswer::NotRegistered => drop(report.send(Sign::Here(false)).await),
            HereAnswer::Unsupported | HereAnswer::Unknown => {}
        }
        let spread = limits::HERE_SPREAD * (2.0 * jitter.spread() - 1.0);
        pause = limits::HERE_INTERVAL.mul_f64(1.0 + spread);
    }
}
