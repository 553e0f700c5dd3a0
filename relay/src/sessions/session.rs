//! One session: two queues, the places it takes, and its end. Both pumps and both response bodies share it; when the last
//! of them is gone, so is the session, whatever the reason. The exec-server's places come back before that, with its own two
//! halves: a client that stops reading keeps its own places taken, not the exec-server's.

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
    /// Its place among those of its network and of the relay, once it was its turn.
    client_slot: OnceLock<ClientSlot>,
    held: Arc<SessionMemory>,
    progress: Mutex<[DirectionProgress; 2]>,
    _connection: Slot<()>,
}

/// When a direction was last seen to move.
#[derive(Debug, Default, Clone, Copy)]
struct DirectionProgress {
    moved: u64,
    since: Option<Instant>,
}

/// The places at the exec-server, from `Accept` until both halves of its stream are gone: held by the pump that reads them
/// and the response body that feeds them.
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

    /// It was its turn: the place is its own until its end.
    pub(crate) fn set_client_slot(&self, slot: ClientSlot) {
        let _ = self.client_slot.set(slot);
    }

    pub(crate) fn held(&self) -> &Arc<SessionMemory> {
        &self.held
    }

    /// Counts bytes that came. They go with the rope they leave in, or with the session.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.held
            .add(bytes, |reservation, bytes| self.table.grow(reservation, bytes))
    }

    /// Has the exec-server accepted?
    pub(crate) fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Ends the session at once if a direction has had something to send and has not moved for [`STALL_TIMEOUT`]; keeps what waits small
    /// long before.
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

    /// Was it ended without what it held?
    pub(crate) fn is_cut(&self) -> bool {
        self.queues.iter().any(FrameQueue::is_cut)
    }

    /// Ends both directions without what they hold.
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

    /// The exec-server has accepted.
    pub(crate) fn open(&self) {
        if self.opened.set(Instant::now()).is_ok() {
            self.table.metrics.session_opened();
            // A command has a session of its own, so these would be two lines a command.
            tracing::debug!(session = %self.id, exec_server = %self.exec_server, "session opened");
        }
    }

    /// Ends both directions, each after what it has queued; a direction that has ended keeps its own end.
    pub(crate) fn end(&self, end: SessionEnd) {
        // A dial that nobody accepted is refused, which is counted there.
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
