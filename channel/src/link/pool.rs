//! The connections over which an exec-server accepts its sessions: [`MAX_SESSIONS`] on each, so that their windows fit into the
//! connection's and a stalled session stops no other; opened as sessions come, closed when they have been idle for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_export::clock;
use baton_proto::limits::MAX_SESSIONS;
use tokio::sync::Notify;
use tonic::transport::Channel;

use super::endpoint::{RelayError, RelayUrl};
use crate::limits::POOL_IDLE;

/// See the [module](self).
pub(crate) struct Pool {
    url: RelayUrl,
    connections: Mutex<Vec<Pooled>>,
    /// Held while a connection is made: those who need one wait for the same.
    opening: tokio::sync::Mutex<u64>,
    idle: Notify,
}

struct Pooled {
    id: u64,
    channel: Channel,
    sessions: usize,
    /// Without a session since.
    idle_since: Instant,
}

/// A place for one session on a connection. Dropped when the session is over.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    id: u64,
    pub(crate) channel: Channel,
}

impl Pool {
    /// With its first connection, which stays: a session that comes alone never waits for one.
    pub(crate) async fn open(url: RelayUrl) -> Result<Arc<Self>, RelayError> {
        let channel = url.connect().await?;
        let first = Pooled::new(0, channel);
        Ok(Arc::new(Self {
            url,
            connections: Mutex::new(vec![first]),
            opening: tokio::sync::Mutex::new(0),
            idle: Notify::new(),
        }))
    }

    /// A place on a connection that has one, on a new one if none has. `except`: not on this one, which the relay takes for full.
    pub(crate) async fn lease(self: &Arc<Self>, except: Option<&Lease>) -> Result<Lease, RelayError> {
        loop {
            if let Some(lease) = self.find(except) {
                return Ok(lease);
            }
            let mut opened = self.opening.lock().await;
            if let Some(lease) = self.find(except) {
                return Ok(lease);
            }
            let channel = self.url.connect().await?;
            *opened += 1;
            self.lock().push(Pooled::new(*opened, channel));
            // Others may be faster: whoever waits takes what there is.
        }
    }

    /// Closes connections that have been idle for [`POOL_IDLE`], for as long as it is polled.
    pub(crate) async fn close_idle(&self) {
        loop {
            self.idle.notified().await;
            while let Some(wait) = self.prune(clock::now()) {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// How long until the next one can be closed, if any is idle.
    fn prune(&self, now: Instant) -> Option<Duration> {
        let mut connections = self.lock();
        let is_spare = |pooled: &Pooled| pooled.id > 0 && pooled.sessions == 0;
        let idle = |pooled: &Pooled| now.saturating_duration_since(pooled.idle_since);
        connections.retain(|pooled| !is_spare(pooled) || idle(pooled) < POOL_IDLE);
        let spare = connections.iter().filter(|pooled| is_spare(pooled));
        spare.map(|pooled| POOL_IDLE - idle(pooled)).min()
    }

    fn find(self: &Arc<Self>, except: Option<&Lease>) -> Option<Lease> {
        let mut connections = self.lock();
        let pooled = connections.iter_mut().find(|pooled| {
            pooled.sessions < MAX_SESSIONS as usize && except.is_none_or(|lease| lease.id != pooled.id)
        })?;
        pooled.sessions += 1;
        Some(Lease {
            pool: Arc::clone(self),
            id: pooled.id,
            channel: pooled.channel.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pooled>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pooled {
    fn new(id: u64, channel: Channel) -> Self {
        Self {
            id,
            channel,
            sessions: 0,
            idle_since: clock::now(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut connections = self.pool.lock();
        let Some(pooled) = connections.iter_mut().find(|pooled| pooled.id == self.id) else {
            return;
        };
        pooled.sessions -= 1;
        if pooled.sessions == 0 {
            pooled.idle_since = clock::now();
            self.pool.idle.notify_one();
        }
    }
}
