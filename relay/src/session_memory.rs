//! The memory of one session: the bytes that it holds, the bytes reserved for it, and whether they progress.
//!
//! A byte counts from when it was read from a body until HTTP/2 has written it to the other side's socket. The session
//! shares this with the data that it passed to HTTP/2, which may outlive it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::direction::Direction;
use crate::limits::{HELD_STEP_BYTES, PIN_FACTOR, SESSION_HELD_BYTES};
use crate::memory_budget::{MemoryExhausted, MemoryReservation};
use crate::network::Site;

/// Counts the bytes that one session holds, and reserves memory for them.
#[derive(Debug)]
pub(crate) struct SessionMemory {
    bytes: AtomicUsize,
    /// The maximum of `bytes` before more memory is reserved.
    allowed: AtomicUsize,
    /// The network of the client that dialled.
    site: Site,
    /// Locked while memory is reserved, which may look at every other session. So nothing that such a look reads is
    /// behind this lock.
    reservation: Mutex<MemoryReservation>,
    handed: [AtomicUsize; 2],
    moved: [AtomicU64; 2],
}

/// Counts bytes that HTTP/2 buffers, until it is dropped with them.
#[derive(Debug)]
pub(crate) struct BytesInHttp2 {
    held: Arc<SessionMemory>,
    direction: Direction,
    bytes: usize,
}

impl SessionMemory {
    /// `reservation`: [`SESSION_BYTES`](crate::limits::SESSION_BYTES) for this session.
    pub(crate) fn new(reservation: MemoryReservation) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            allowed: AtomicUsize::new(SESSION_HELD_BYTES),
            site: reservation.site(),
            reservation: Mutex::new(reservation),
            handed: Default::default(),
            moved: Default::default(),
        })
    }

    /// Counts received bytes. If `grow` cannot reserve memory, they are counted nevertheless: the session ends then.
    pub(crate) fn add(
        &self,
        bytes: usize,
        grow: impl FnOnce(&mut MemoryReservation, usize) -> Result<(), MemoryExhausted>,
    ) -> Result<(), MemoryExhausted> {
        let held = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        if held <= self.allowed.load(Relaxed) {
            return Ok(());
        }
        let mut reservation = self.reservation();
        let allowed = self.allowed.load(Relaxed);
        if held > allowed {
            let step = (held - allowed).next_multiple_of(HELD_STEP_BYTES);
            grow(&mut reservation, step * PIN_FACTOR)?;
            self.allowed.store(allowed + step, Relaxed);
        }
        Ok(())
    }

    fn subtract(&self, bytes: usize) {
        let held = self.bytes.fetch_sub(bytes, Relaxed).saturating_sub(bytes);
        // Hysteresis: a session around a step does not reserve and release at every frame.
        if self.allowed.load(Relaxed) < held + 3 * HELD_STEP_BYTES {
            return;
        }
        let mut reservation = self.reservation();
        let allowed = self.allowed.load(Relaxed);
        // Another thread may have added some meanwhile.
        let held = self.bytes.load(Relaxed);
        let spare = allowed.saturating_sub(held.max(SESSION_HELD_BYTES) + HELD_STEP_BYTES);
        let steps = spare / HELD_STEP_BYTES * HELD_STEP_BYTES;
        reservation.shrink(steps * PIN_FACTOR);
        self.allowed.store(allowed - steps, Relaxed);
    }

    /// Counts bytes as passed to HTTP/2.
    pub(crate) fn hand(self: &Arc<Self>, direction: Direction, bytes: usize) -> BytesInHttp2 {
        self.handed[direction as usize].fetch_add(bytes, Relaxed);
        self.moved[direction as usize].fetch_add(1, Relaxed);
        BytesInHttp2 {
            held: self.clone(),
            direction,
            bytes,
        }
    }

    /// Bytes that were passed to HTTP/2 and are not yet written to the socket.
    pub(crate) fn in_flight(&self, direction: Direction) -> usize {
        self.handed[direction as usize].load(Relaxed)
    }

    /// A counter that changes whenever bytes are forwarded.
    pub(crate) fn moved(&self, direction: Direction) -> u64 {
        self.moved[direction as usize].load(Relaxed)
    }

    /// Bytes that the session may hold without reserving more: in proportion to what is reserved for it.
    pub(crate) fn allowed(&self) -> usize {
        self.allowed.load(Relaxed)
    }

    #[cfg(test)]
    fn reserved(&self) -> usize {
        self.reservation().bytes()
    }

    /// The network of the client that dialled.
    pub(crate) fn site(&self) -> Site {
        self.site
    }

    fn reservation(&self) -> MutexGuard<'_, MemoryReservation> {
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BytesInHttp2 {
    /// Called when the socket has taken some of the bytes.
    pub(crate) fn moved(&self) {
        self.held.moved[self.direction as usize].fetch_add(1, Relaxed);
    }
}

impl Drop for BytesInHttp2 {
    fn drop(&mut self) {
        self.moved();
        self.held.handed[self.direction as usize].fetch_sub(self.bytes, Relaxed);
        self.held.subtract(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SESSION_BYTES;
    use crate::memory_budget::{MemoryAccount, MemoryBudget};
    use crate::network::Network;

    #[test]
    fn what_is_held_is_reserved_and_comes_back_when_it_is_sent() {
        let budget = MemoryBudget::new(64 * 1024 * 1024);
        let account = MemoryAccount::of(Network::of([192, 0, 2, 1].into()), None);
        let held = SessionMemory::new(budget.reserve(account, SESSION_BYTES).unwrap());
        let most = 4 * 1024 * 1024;
        for _ in 0..64 {
            held.add(most / 64, |reservation, bytes| reservation.grow(bytes))
                .unwrap();
        }
        assert!(held.reserved() >= most * PIN_FACTOR);
        assert!(held.reserved() <= SESSION_BYTES + (most + HELD_STEP_BYTES) * PIN_FACTOR);
        let handed: Vec<_> = (0..64)
            .map(|_| held.hand(Direction::ToClient, most / 64))
            .collect();
        assert_eq!(held.in_flight(Direction::ToClient), most);
        let moved = held.moved(Direction::ToClient);
        drop(handed);
        assert_eq!(held.in_flight(Direction::ToClient), 0);
        assert!(held.moved(Direction::ToClient) > moved);
        assert!(
            held.reserved() <= SESSION_BYTES + 3 * HELD_STEP_BYTES * PIN_FACTOR,
            "{}",
            held.reserved()
        );
        assert!(held.add(most, |_, _| Err(MemoryExhausted::Site)).is_err());
    }
}
