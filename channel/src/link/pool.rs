//! The connections over which an exec-server accepts its sessions. Each carries at most [`MAX_SESSIONS`], so that their
//! windows fit into the connection's window, and a stalled session cannot block others. Connections are opened on
//! demand, and closed after [`POOL_IDLE`] without a session. Each registration has its own; after its end, its
//! connections are closed with their last session.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_export::clock;
use baton_proto::limits::MAX_SESSIONS;
use tokio::sync::Notify;
use tonic::transport::Channel;

use super::endpoint::{RelayError, RelayUrl};
use crate::limits::POOL_IDLE;

/// The connections of one exec-server.
pub(crate) struct Pool {
    url: RelayUrl,
    connections: Mutex<Vec<Pooled>>,
    /// The number of further connections so far. Locked while one is opened, so that concurrent leases wait for the
    /// same.
    opening: tokio::sync::Mutex<u64>,
    idle: Notify,
    /// The registration has ended.
    is_retired: AtomicBool,
}

struct Pooled {
    id: u64,
    channel: Channel,
    sessions: usize,
    /// The end of the last session, if there is no session now.
    idle_since: Instant,
}

/// A slot for one session on a connection. Drop frees it.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    id: u64,
    pub(crate) channel: Channel,
}

impl Pool {
    /// Opens the first connection. It stays open, so that a session after an idle time need not wait for one.
    pub(crate) async fn open(url: RelayUrl) -> Result<Arc<Self>, RelayError> {
        let channel = url.connect().await?;
        let first = Pooled::new(0, channel);
        Ok(Arc::new(Self {
            url,
            connections: Mutex::new(vec![first]),
            opening: tokio::sync::Mutex::new(0),
            idle: Notify::new(),
            is_retired: AtomicBool::new(false),
        }))
    }

    /// Leases a slot on a connection with a free one, or on a new connection. Avoids the connection of `except`, which
    /// the relay reported as full.
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
            // Concurrent leases may take all slots of the new connection; then the loop opens another.
        }
    }

    /// Closes connections that have been idle for [`POOL_IDLE`]. Never returns; runs while it is polled.
    pub(crate) async fn close_idle(&self) -> Infallible {
        loop {
            self.idle.notified().await;
            while let Some(wait) = self.prune(clock::now()) {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Closes expired connections. Returns the time until the next idle connection expires.
    fn prune(&self, now: Instant) -> Option<Duration> {
        let mut connections = self.lock();
        let is_spare = |pooled: &Pooled| pooled.id > 0 && pooled.sessions == 0;
        let idle = |pooled: &Pooled| now.saturating_duration_since(pooled.idle_since);
        connections.retain(|pooled| !is_spare(pooled) || idle(pooled) < POOL_IDLE);
        let spare = connections.iter().filter(|pooled| is_spare(pooled));
        spare.map(|pooled| POOL_IDLE - idle(pooled)).min()
    }

    /// Closes each connection when it has no session. Dials that were announced before can still lease.
    pub(crate) fn retire(&self) {
        let mut connections = self.lock();
        self.is_retired.store(true, Ordering::Relaxed);
        connections.retain(|pooled| pooled.sessions > 0);
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
        if pooled.sessions > 0 {
            return;
        }
        pooled.idle_since = clock::now();
        if self.pool.is_retired.load(Ordering::Relaxed) {
            connections.retain(|pooled| pooled.sessions > 0);
        }
        self.pool.idle.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::link::network::Network;

    /// Whether this end of the connection reads the end of the other one within a second.
    async fn is_closed(connection: &mut DuplexStream) -> bool {
        let read = async { while connection.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {} };
        timeout(Duration::from_secs(1), read).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connections_of_an_ended_registration_are_closed_with_their_last_session() {
        let (opened, mut connections) = mpsc::unbounded_channel();
        let network = Network::new(move |_| {
            let (near, far) = duplex(1 << 16);
            opened.send(far).unwrap();
            async move { Ok(near) }
        });
        let url = RelayUrl::parse("http://127.0.0.1:7700")
            .unwrap()
            .over(Some(network));
        let pool = Pool::open(url).await.unwrap();
        let mut leases = Vec::new();
        for _ in 0..=MAX_SESSIONS {
            leases.push(pool.lease(None).await.unwrap());
        }
        let mut first = connections.recv().await.unwrap();
        let mut second = connections.recv().await.unwrap();
        pool.retire();
        assert!(!is_closed(&mut first).await && !is_closed(&mut second).await);
        // The last lease is the only one of the second connection.
        leases.pop();
        assert!(is_closed(&mut second).await && !is_closed(&mut first).await);
        leases.clear();
        assert!(is_closed(&mut first).await);
        // A dial that was announced before the end still gets a connection.
        let late = pool.lease(None).await.unwrap();
        let mut third = connections.recv().await.unwrap();
        assert!(!is_closed(&mut third).await);
        drop(late);
        assert!(is_closed(&mut third).await);
    }
}
