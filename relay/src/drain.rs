//! Takes a relay out of service without ending its sessions.
//!
//! 1. [`Drain::begin`]: no new sessions. `GET /health` answers 404, so that a balancer sends new streams to other
//!    relays, and `Here` answers NOT_FOUND. Then registrations end, and dials are refused. A balancer may send some of
//!    their retries here until its next health check; they are refused too, and tried again.
//! 2. [`Drain::finish`]: open sessions go on until they end, or until their time is over.
//! 3. The `shutdown` of [`Relay::serve`](crate::Relay::serve) resolves, and the relay ends the remaining sessions.
//!
//! New connections are accepted throughout: a health check needs an answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::state::RelayState;

/// Drains one relay, from [`Relay::drain`](crate::Relay::drain).
///
/// ```no_run
/// # async fn example(
/// #     stop: impl Future<Output = ()>,
/// #     again: impl Future<Output = ()>,
/// # ) -> Result<(), baton_relay::BindError> {
/// use std::time::Duration;
///
/// use baton_relay::{Config, Relay};
///
/// let relay = Relay::bind(([0, 0, 0, 0], 7700).into(), Config::default()).await?;
/// let drain = relay.drain();
/// relay
///     .serve(async {
///         stop.await;
///         println!("draining {} sessions", drain.begin());
///         drain.finish(Duration::from_secs(25), again).await;
///     })
///     .await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Drain(Arc<RelayState>);

/// Why a drain is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainEnd {
    /// Every session has ended.
    Finished,
    /// The time was over before every session had ended.
    TimedOut,
    /// The caller ended it.
    Cut,
}

impl Drain {
    pub(crate) fn new(relay: Arc<RelayState>) -> Self {
        Self(relay)
    }

    /// Refuses health checks, dials and registrations from now on. Ends every waiting dial and every registration with
    /// `UNAVAILABLE`. Returns the number of open sessions, which go on. A second call changes nothing.
    pub fn begin(&self) -> u64 {
        self.0.drain();
        self.sessions()
    }

    /// The number of sessions that are open now.
    pub fn sessions(&self) -> u64 {
        self.0.metrics.sessions_open()
    }

    /// Waits until every session has ended, until `limit` has passed, or until `cut` resolves. Cancellation safe.
    pub async fn finish(&self, limit: Duration, cut: impl Future<Output = ()>) -> DrainEnd {
        tokio::select! {
            biased;
            () = self.0.sessions.all_closed() => DrainEnd::Finished,
            () = cut => DrainEnd::Cut,
            () = sleep(limit) => DrainEnd::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use baton_proto::{ExecServerId, SessionId};
    use tokio::time::Instant;

    use super::*;
    use crate::memory_budget::MemoryAccount;
    use crate::network::Network;
    use crate::sessions::Session;
    use crate::slots::Slots;
    use crate::{Config, RefusalReason};

    const LIMIT: Duration = Duration::from_secs(25);

    /// A relay with this many open sessions.
    fn draining(sessions: u8) -> (Drain, Vec<Arc<Session>>) {
        let relay = Arc::new(RelayState::new(Config::default()));
        let network = Network::of([127, 0, 0, 1].into());
        let open = |number| {
            let memory = relay.sessions.reserve(MemoryAccount::of(network, None), 1);
            let session = Session::new(
                SessionId([number; 16]),
                ExecServerId([1; 16]),
                relay.sessions.clone(),
                Slots::new(1).take(()).unwrap(),
                memory.ok().unwrap(),
            );
            session.open();
            session
        };
        let sessions: Vec<_> = (0..sessions).map(open).collect();
        let drain = Drain::new(relay);
        assert_eq!(drain.begin(), sessions.len() as u64);
        (drain, sessions)
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_finished_at_once_without_sessions_and_otherwise_with_the_last_one() {
        let start = Instant::now();
        let (drain, _) = draining(0);
        assert_eq!(drain.finish(LIMIT, pending()).await, DrainEnd::Finished);
        assert_eq!(start.elapsed(), Duration::ZERO);

        let (drain, sessions) = draining(3);
        let end = async {
            for session in sessions {
                sleep(Duration::from_secs(5)).await;
                drop(session);
            }
        };
        let (finished, ()) = tokio::join!(drain.finish(LIMIT, pending()), end);
        assert_eq!(finished, DrainEnd::Finished);
        assert_eq!(start.elapsed(), Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_with_an_open_session_ends_when_its_time_is_over_or_it_is_cut() {
        let start = Instant::now();
        let (drain, _sessions) = draining(1);
        assert_eq!(drain.finish(LIMIT, pending()).await, DrainEnd::TimedOut);
        assert_eq!(start.elapsed(), LIMIT);
        let cut = sleep(Duration::from_secs(1));
        assert_eq!(drain.finish(LIMIT, cut).await, DrainEnd::Cut);
        assert_eq!(start.elapsed(), LIMIT + Duration::from_secs(1));
        assert_eq!(drain.finish(Duration::ZERO, pending()).await, DrainEnd::TimedOut);
        assert_eq!(drain.sessions(), 1);
    }

    #[test]
    fn a_drain_that_is_begun_twice_is_one_drain() {
        let (drain, sessions) = draining(2);
        assert_eq!(drain.begin(), 2);
        drop(sessions);
        assert_eq!(drain.begin(), 0);
        let counters = drain.0.metrics.snapshot();
        assert!(counters.draining);
        assert_eq!(counters.refused, RefusalReason::ALL.map(|_| 0));
    }
}
