//! Sessions that are established before anybody needs them, for callers that start cold.
//!
//! A task establishes them, one at a time, and replaces those that were taken or have ended. It begins a while after
//! the first was taken, because its handshake would delay the first command of that session. After failures it waits
//! longer and longer. After [`POOL_ATTEMPTS_MAX`] failures in a row it stops, until [`Pool::take`] is called again: a
//! pool that nobody uses does not dial a dead exec-server for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::limits::{
    POOL_ATTEMPTS_MAX, POOL_CHECK_INTERVAL, POOL_REFILL_DELAY, POOL_RETRY_FIRST, POOL_RETRY_MAX,
    POOL_SESSIONS_MAX, WARM_TIMEOUT,
};

/// Keeps sessions with one exec-server ready. Dropping it ends those that were not taken.
///
/// A session is handed out once and never returns, so that no state of one caller reaches the next one.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    ready: Mutex<VecDeque<Client>>,
    size: usize,
    template: Client,
    /// Notified when a session was taken.
    taken: Notify,
    /// Notified when a session is ready.
    filled: Notify,
}

/// Why there is no pool of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pool has 1 to {POOL_SESSIONS_MAX} sessions, not {0}")]
pub struct PoolSizeError(usize);

impl Pool {
    /// Starts to establish `size` sessions with the ticket, key and options of `client`, which keeps its own session.
    /// Must be called in a tokio runtime with IO and time.
    ///
    /// # Errors
    /// The size is 0 or beyond [`POOL_SESSIONS_MAX`].
    pub fn start(client: &Client, size: usize) -> Result<Self, PoolSizeError> {
        if !(1..=POOL_SESSIONS_MAX).contains(&size) {
            return Err(PoolSizeError(size));
        }
        let shared = Arc::new(Shared {
            ready: Mutex::new(VecDeque::with_capacity(size)),
            size,
            template: client.sibling(),
            taken: Notify::new(),
            filled: Notify::new(),
        });
        let task = tokio::spawn(fill(Arc::clone(&shared)));
        Ok(Self {
            shared,
            task: task.abort_handle(),
        })
    }

    /// A client with an established session; one without a session, which connects at its first command, if the pool
    /// is empty. Does not wait. A session that is known to have ended is not handed out.
    pub fn take(&self) -> Client {
        let taken = {
            let mut ready = self.shared.ready();
            std::iter::from_fn(|| ready.pop_front()).find(Client::is_connected)
        };
        self.shared.taken.notify_one();
        taken.unwrap_or_else(|| self.shared.template.sibling())
    }

    /// The number of established sessions.
    pub fn ready(&self) -> usize {
        let ready = self.shared.ready();
        ready.iter().filter(|client| client.is_connected()).count()
    }

    /// Waits until all sessions are established. It may never resolve: use a timeout. One waiter; cancellation safe.
    pub async fn filled(&self) {
        while self.ready() < self.shared.size {
            self.shared.filled.notified().await;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Client>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of a pool.
async fn fill(shared: Arc<Shared>) {
    let mut failures = 0;
    let mut wait = POOL_RETRY_FIRST;
    loop {
        let is_full = {
            let mut ready = shared.ready();
            ready.retain(Client::is_connected);
            ready.len() >= shared.size
        };
        if is_full {
            // The end of a session notifies nobody, so the pool looks now and then.
            if timeout(POOL_CHECK_INTERVAL, shared.taken.notified())
                .await
                .is_ok()
            {
                sleep(POOL_REFILL_DELAY).await;
            }
            continue;
        }
        let client = shared.template.sibling();
        // The round trip confirms the session, as a first command would.
        if let Ok(Ok(_)) = timeout(WARM_TIMEOUT, client.ping()).await {
            shared.ready().push_back(client);
            shared.filled.notify_one();
            (failures, wait) = (0, POOL_RETRY_FIRST);
            continue;
        }
        failures += 1;
        if failures < POOL_ATTEMPTS_MAX {
            sleep(wait).await;
            wait = (wait * 2).min(POOL_RETRY_MAX);
            continue;
        }
        shared.taken.notified().await;
        (failures, wait) = (0, POOL_RETRY_FIRST);
    }
}
