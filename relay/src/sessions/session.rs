//! One session: two queues, its slots and memory, and its end.
//!
//! Both pumps and both response bodies share it; it is dropped with the last of them. The exec-server's slots are
//! released earlier, with the pump and the body of its stream: a client that stops reading occupies its own slots, but
//! not the exec-server's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use baton_proto::{ExecServerId, SessionId};

use super::Sessions;
use crate::dial_queue::{ClientSlot, ExecServerSlot};
use crate::direction::Direction;
use crate::frames::{FrameQueue, SessionEnd};
use crate::memory_budget::{MemoryExhausted, MemoryReservation};
use crate::session_memory::SessionMemory;
use crate::slots::Slot;

/// A session, pending or spliced.
pub(crate) struct Session {
    id: SessionId,
    exec_server: ExecServerId,
    table: Arc<Sessions>,
    queues: [FrameQueue; 2],
    bytes: [AtomicU64; 2],
    opened: OnceLock<Instant>,
    /// Its slot of its network and of the relay, once it has its turn.
    client_slot: OnceLock<ClientSlot>,
    held: Arc<SessionMemory>,
    progress: Mutex<[DirectionProgress; 2]>,
    _connection: Slot<()>,
}

/// The last observed progress of a direction.
#[derive(Debug, Default, Clone, Copy)]
struct DirectionProgress {
    moved: u64,
    since: Option<Instant>,
}

/// The exec-server's slots, held from `Accept` until both halves of its stream are dropped: the pump that reads it and
/// the response body that writes it.
#[expect(dead_code, reason = "held for their Drop")]
pub(crate) struct ExecServerSlots {
    pub(crate) exec_server: ExecServerSlot,
    pub(crate) connection: Slot<()>,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        exec_server: ExecServerId,
        table: Arc<Sessions>,
        connection: Slot<()>,
        memory: MemoryReservation,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            exec_server,
            table,
            queues: Default::default(),
            bytes: Default::default(),
            opened: OnceLock::new(),
            client_slot: OnceLock::new(),
            held: SessionMemory::new(memory),
            progress: Mutex::default(),
            _connection: connection,
        })
    }

    /// Stores the slot, which the session holds until it ends.
    pub(crate) fn set_client_slot(&self, slot: ClientSlot) {
        let _ = self.client_slot.set(slot);
    }

    pub(crate) fn held(&self) -> &Arc<SessionMemory> {
        &self.held
    }

    /// Counts received bytes. They are released with the rope in which they are sent, or with the session.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.held
            .add(bytes, |reservation, bytes| self.table.grow(reservation, bytes))
    }

    /// Whether the exec-server has accepted.
    pub(crate) fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Cuts the session if a direction has had data to send without progress for
    /// [`STALL_TIMEOUT`](crate::limits::STALL_TIMEOUT). Compacts the waiting data of a direction without progress.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        for direction in [Direction::ToExecServer, Direction::ToClient] {
            let progress = &mut progress[direction as usize];
            let moved = self.held.moved(direction);
            let waits = self.queue(direction).is_waiting() || self.held.in_flight(direction) > 0;
            match progress.since {
                Some(since) if waits && moved == progress.moved => {
                    if now.saturating_duration_since(since) >= self.table.stalled {
                        self.cut(SessionEnd::Stalled);
                        return;
                    }
                    self.queue(direction).compact();
                }
                _ => {
                    *progress = DirectionProgress {
                        moved,
                        since: waits.then_some(now),
                    }
                }
            }
        }
    }

    /// Whether the session was ended without sending what was queued.
    pub(crate) fn is_cut(&self) -> bool {
        self.queues.iter().any(FrameQueue::is_cut)
    }

    /// Ends both directions without sending what is queued.
    pub(crate) fn cut(&self, end: SessionEnd) {
        self.table.metrics.session_reset();
        tracing::info!(session = %self.id, "{}", end.status().message());
        for queue in &self.queues {
            queue.cut(end);
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn exec_server(&self) -> ExecServerId {
        self.exec_server
    }

    pub(crate) fn queue(&self, direction: Direction) -> &FrameQueue {
        &self.queues[direction as usize]
    }

    /// Called when the exec-server has accepted.
    pub(crate) fn open(&self) {
        if self.opened.set(Instant::now()).is_ok() {
            self.table.metrics.session_opened();
            // At debug level: a command usually has its own session, which would log two lines per command.
            tracing::debug!(session = %self.id, exec_server = %self.exec_server, "session opened");
        }
    }

    /// Ends both directions, each after its queued frames; a direction that has ended keeps its first end.
    pub(crate) fn end(&self, end: SessionEnd) {
        // A dial that was not accepted is refused, and the refusal is counted.
        if let (SessionEnd::Broken(error), true) = (end, self.is_open()) {
            self.table.metrics.session_reset();
            tracing::info!(session = %self.id, "session reset: {error}");
        }
        for queue in &self.queues {
            queue.end(end);
        }
    }

    pub(crate) fn forwarded(&self, direction: Direction, frames: u64, bytes: u64) {
        self.bytes[direction as usize].fetch_add(bytes, Relaxed);
        self.table.metrics.forwarded(direction, frames, bytes);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.table.forget(self);
        if let Some(opened) = self.opened.get() {
            self.table.metrics.session_closed();
            self.table.closed.notify_waiters();
            let bytes = |direction: Direction| self.bytes[direction as usize].load(Relaxed);
            tracing::debug!(
                session = %self.id,
                exec_server = %self.exec_server,
                to_exec_server_bytes = bytes(Direction::ToExecServer),
                to_client_bytes = bytes(Direction::ToClient),
                duration_ms = opened.elapsed().as_millis() as u64,
                "session closed"
            );
        }
    }
}
