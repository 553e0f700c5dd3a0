//! One TCP connection of a peer: its addresses, its session slots, its memory, and whether it is idle.

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
    /// The relay's address on this connection, one of the authorities that it accepts.
    pub(crate) local: SocketAddr,
    sessions: Slots<()>,
    streams: AtomicU64,
    streams_ever: AtomicU64,
    had_session: AtomicBool,
    budget: Arc<MemoryBudget>,
    /// The additional memory of a connection that has had a session.
    more: OnceLock<MemoryReservation>,
}

/// Counts a stream as open until its response is dropped.
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

    /// Called when a session of this connection was accepted. From then on the peer may send longer frames.
    pub(crate) fn begins_session(&self) {
        if !self.had_session.swap(true, Relaxed)
            && let Some(more) = self
                .budget
                .reserve_optional(self.account(), SESSION_CONNECTION_BYTES)
        {
            let _ = self.more.set(more);
        }
    }

    pub(crate) fn has_had_session(&self) -> bool {
        self.had_session.load(Relaxed)
    }

    /// Bytes to read from the socket at once.
    pub(crate) fn portion(&self) -> usize {
        self.more.get().map_or(EARLY_READ_BYTES, |_| READ_BYTES)
    }

    /// Reserves memory for incoming data; `None` if the address's share is used up.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<MemoryReservation> {
        self.budget.reserve(self.account(), bytes).ok()
    }

    fn account(&self) -> MemoryAccount {
        MemoryAccount::of(self.network(), None)
    }

    pub(crate) fn take_session(&self) -> Option<Slot<()>> {
        self.sessions.take(())
    }

    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Relaxed);
        self.streams_ever.fetch_add(1, Relaxed);
        OpenStream(self.clone())
    }

    /// The number of streams opened so far, if none is open now. Two equal results: the connection was idle in between.
    pub(crate) fn idle_mark(&self) -> Option<u64> {
        (self.streams.load(Relaxed) == 0).then(|| self.streams_ever.load(Relaxed))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}
