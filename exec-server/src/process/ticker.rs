//! Short waits that share one timer.
//!
//! Setting tokio's earliest timer wakes the runtime's driver, which costs two system calls. That is much for a wait
//! that is nearly always cancelled. All waits of a ticker share one timer, which runs only while there are waits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// See the [module](self). Clones are one ticker.
#[derive(Debug, Clone)]
pub(super) struct Ticker(Arc<Inner>);

/// One wait.
pub(super) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Debug)]
struct Inner {
    period: Duration,
    tick: Notify,
    runs: AtomicBool,
    /// A wait has begun since the last tick.
    wanted: AtomicBool,
}

impl Ticker {
    pub(super) fn new(period: Duration) -> Self {
        Self(Arc::new(Inner {
            period,
            tick: Notify::new(),
            runs: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
        }))
    }

    /// As [`wait`](Self::wait), as a boxed future.
    pub(super) fn waiting(&self) -> Wait {
        let ticker = self.clone();
        Box::pin(async move { ticker.wait().await })
    }

    /// Waits for one to two periods. Must be called in a tokio runtime. Cancel safe.
    pub(super) async fn wait(&self) {
        for _ in 0..2 {
            let tick = self.0.tick.notified();
            self.0.wanted.store(true, Ordering::SeqCst);
            if !self.0.runs.swap(true, Ordering::SeqCst) {
                tokio::spawn(Arc::clone(&self.0).run());
            }
            tick.await;
        }
    }
}

impl Inner {
    async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.period).await;
            let wanted = self.wanted.swap(false, Ordering::SeqCst);
            self.tick.notify_waiters();
            if wanted {
                continue;
            }
            self.runs.store(false, Ordering::SeqCst);
            // A wait that began meanwhile has found it running.
            if !self.wanted.load(Ordering::SeqCst) || self.runs.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_one_to_two_periods_however_many_share_it() {
        let ticker = Ticker::new(PERIOD);
        let waiter = |delay| {
            let ticker = ticker.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let begun = Instant::now();
                ticker.wait().await;
                begun.elapsed()
            })
        };
        let waits: Vec<_> = (0..100).map(|ms| waiter(Duration::from_millis(ms))).collect();
        for wait in waits {
            let waited = wait.await.unwrap();
            assert!(
                waited >= PERIOD && waited <= 2 * PERIOD + Duration::from_millis(2),
                "{waited:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_without_waits_and_starts_again() {
        let ticker = Ticker::new(PERIOD);
        for _ in 0..3 {
            ticker.wait().await;
            tokio::time::sleep(5 * PERIOD).await;
            assert!(!ticker.0.runs.load(Ordering::SeqCst));
        }
    }
}
