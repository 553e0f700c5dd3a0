//! One TCP connection of a peer: its addresses, its sessions, and whether it is idle.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::limits::{EARLY_READ_BYTES, READ_BYTES, SESSION_CONNECTION_BYTES};
use crate::memory_budget::{MemoryAccount, MemoryBudget, MemoryReservation};
use crate::network::Network;
use crate::slots::{Slot, Slots};

/// Shared by every stream of the connection.
pub(crate) struct Connection {
    /// The peer, for limits and logs.
    pub(crate) remote: SocketAddr,
    /// Our end, one of the names this relay answers to.
    pub(crate) local: SocketAddr,
    sessions: Slots<()>,
    streams: AtomicU64,
    streams_ever: AtomicU64,
    had_session: AtomicBool,
    budget: Arc<MemoryBudget>,
    /// What a connection with sessions takes beyond another.
    more: OnceLock<MemoryReservation>,
}

/// Counts a stream as long as its response lives.
pub(crate) struct OpenStream(Arc<Connection>);

impl Connection {
    pub(crate) fn new(
        remote: SocketAddr,
        local: SocketAddr,
        sessions: usize,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            remote,
            local,
            sessions: Slots::new(sessions),
            streams: AtomicU64::new(0),
            streams_ever: AtomicU64::new(0),
            had_session: AtomicBool::new(false),
            budget,
            more: OnceLock::new(),
        }
    }

    /// The peer's network, for limits.
    pub(crate) fn network(&self) -> Network {
        Network::of(self.remote.ip())
    }

    /// A session of this connection was accepted: it may send as a session's peer does.
    pub(crate) fn begins_session(&self) {
        if !self.had_session.swap(true, Relaxed)
            && let Some(more) = self.reserve(SESSION_CONNECTION_BYTES)
        {
            let _ = self.more.set(more);
        }
    }

    pub(crate) fn has_had_session(&self) -> bool {
        self.had_session.load(Relaxed)
    }

    /// Bytes to read at once.
    pub(crate) fn portion(&self) -> usize {
        self.more.get().map_or(EARLY_READ_BYTES, |_| READ_BYTES)
    }

    /// Memory for what comes in; `None`: its share is used up.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<MemoryReservation> {
        let account = MemoryAccount::of(self.network(), None);
        self.budget.reserve(account, bytes).ok()
    }

    pub(crate) fn take_session(&self) -> Option<Slot<()>> {
        self.sessions.take(())
    }

    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Relaxed);
        self.streams_ever.fetch_add(1, Relaxed);
        OpenStream(self.clone())
    }

    /// Streams ever opened, if none is open now: two equal answers frame an idle time.
    pub(crate) fn idle_mark(&self) -> Option<u64> {
        (self.streams.load(Relaxed) == 0).then(|| self.streams_ever.load(Relaxed))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}
