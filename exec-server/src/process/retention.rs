//! The budgets for output in the logs of all processes, shared among clients: one for output that waits to be handed to
//! the transport, and one for output that is kept after that.
//!
//! The pipes of a process whose client is over its share of the first are not read, and its child blocks, as with a full
//! log. Each process may always retain one read, so that a client's other commands cannot stop a command whose output
//! is read. A process whose client is over its share of the second keeps nothing that its client has consumed. If what
//! the clients of a key have not consumed is over the share, its pipes are not read either, beyond
//! [`UNCONSUMED_MIN_BYTES`](crate::limits::UNCONSUMED_MIN_BYTES).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::shares::{ClientUsage, Resource, may_take};
use crate::limits::{KEPT_BYTES, KEPT_UNCONSUMED_BYTES, RETAINED_BYTES, RETAINED_MIN_BYTES};

/// The bytes that all processes keep after they were handed over.
#[derive(Debug)]
pub(super) struct KeepBudget {
    taken: AtomicUsize,
    /// Of `taken`, what the clients of live processes have not consumed.
    unconsumed: AtomicUsize,
    /// [`KEPT_BYTES`], and less in tests.
    limit: AtomicUsize,
    waiting: WaitingDrivers,
}

impl Default for KeepBudget {
    fn default() -> Self {
        Self {
            taken: AtomicUsize::new(0),
            unconsumed: AtomicUsize::new(0),
            limit: AtomicUsize::new(KEPT_BYTES),
            waiting: WaitingDrivers::default(),
        }
    }
}

impl KeepBudget {
    pub(super) fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }
}

/// The bytes that one process keeps. Dropping it returns all of them.
#[derive(Debug)]
pub(super) struct KeptBytes {
    budget: Arc<KeepBudget>,
    client: Arc<ClientUsage>,
    bytes: usize,
    unconsumed: usize,
}

impl KeptBytes {
    pub(super) fn new(budget: Arc<KeepBudget>, client: Arc<ClientUsage>) -> Self {
        Self {
            budget,
            client,
            bytes: 0,
            unconsumed: 0,
        }
    }

    /// Sets the bytes of a live process that its client has not consumed.
    pub(super) fn set_unconsumed(&mut self, bytes: usize) {
        if bytes == self.unconsumed {
            return;
        }
        let is_less = bytes < self.unconsumed;
        self.client.give_back(Resource::UnconsumedBytes, self.unconsumed);
        self.client.take(Resource::UnconsumedBytes, bytes);
        self.budget.unconsumed.fetch_add(bytes, Ordering::SeqCst);
        // Before the check for waiting drivers: see `may_hold_more`.
        self.budget
            .unconsumed
            .fetch_sub(self.unconsumed, Ordering::SeqCst);
        self.unconsumed = bytes;
        if is_less {
            self.budget.waiting.wake();
        }
    }

    /// Whether the clients of this key may have more output that they have not consumed.
    pub(super) fn may_hold_more(&self) -> bool {
        let taken = self.budget.unconsumed.load(Ordering::SeqCst);
        let own = self.client.holds(Resource::UnconsumedBytes);
        may_take(own, taken, self.budget.limit.load(Ordering::Relaxed))
    }

    /// Wakes `driver` when bytes that were not consumed are returned. The caller checks again after this.
    pub(super) fn await_room(&self, driver: Waker) {
        self.budget.waiting.add(driver);
    }

    /// Sets the bytes that the process keeps.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        self.client.give_back(Resource::KeptBytes, self.bytes);
        self.client.take(Resource::KeptBytes, bytes);
        self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Whether the client keeps more than its share.
    pub(super) fn is_over(&self) -> bool {
        self.is_over_share_of(self.budget.limit.load(Ordering::Relaxed))
    }

    /// Whether the client keeps more than all processes that it may have at once.
    pub(super) fn is_over_all(&self) -> bool {
        self.is_over_share_of(KEPT_UNCONSUMED_BYTES)
    }

    fn is_over_share_of(&self, limit: usize) -> bool {
        let taken = self.budget.taken.load(Ordering::Relaxed);
        !may_take(self.client.holds(Resource::KeptBytes), taken, limit)
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        self.set(0);
        self.set_unconsumed(0);
    }
}

/// The bytes that all processes retain.
#[derive(Debug, Default)]
pub(super) struct RetentionBudget {
    taken: AtomicUsize,
    waiting: WaitingDrivers,
}

/// The drivers that wait for room in a budget.
#[derive(Debug, Default)]
struct WaitingDrivers {
    drivers: Mutex<Vec<Waker>>,
    is_awaited: AtomicBool,
}

/// The bytes that one process retains. Dropping it returns all of them.
#[derive(Debug)]
pub(super) struct RetainedBytes {
    budget: Arc<RetentionBudget>,
    client: Arc<ClientUsage>,
    bytes: usize,
}

impl RetainedBytes {
    pub(super) fn new(budget: Arc<RetentionBudget>, client: Arc<ClientUsage>) -> Self {
        Self {
            budget,
            client,
            bytes: 0,
        }
    }

    /// Sets the bytes that the process retains.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            let more = bytes - self.bytes;
            self.budget.taken.fetch_add(more, Ordering::Relaxed);
            self.client.take(Resource::RetainedBytes, more);
        } else {
            let less = self.bytes - bytes;
            self.client.give_back(Resource::RetainedBytes, less);
            // Before the check for waiting drivers: see `has_room`.
            self.budget.taken.fetch_sub(less, Ordering::SeqCst);
            self.budget.waiting.wake();
        }
        self.bytes = bytes;
    }

    /// Whether a pipe may be read. If not, `driver` is woken when bytes were returned.
    pub(super) fn has_room(&self, driver: Option<&Waker>) -> bool {
        if self.may_read() {
            return true;
        }
        if let Some(driver) = driver {
            self.budget.waiting.add(driver.clone());
        }
        // Bytes that were returned before the driver was listed have not woken it.
        self.may_read()
    }

    fn may_read(&self) -> bool {
        self.bytes < RETAINED_MIN_BYTES
            || may_take(
                self.client.holds(Resource::RetainedBytes),
                self.budget.taken.load(Ordering::SeqCst),
                RETAINED_BYTES,
            )
    }
}

impl Drop for RetainedBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl WaitingDrivers {
    fn add(&self, driver: Waker) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        if !drivers.iter().any(|waker| waker.will_wake(&driver)) {
            drivers.push(driver);
        }
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    /// Wakes all of them. A lock only if there is one.
    fn wake(&self) {
        if !self.is_awaited.load(Ordering::SeqCst) {
            return;
        }
        let drivers = {
            let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_awaited.store(false, Ordering::SeqCst);
            std::mem::take(&mut *drivers)
        };
        drivers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;

    #[test]
    fn a_key_that_keeps_all_it_may_leaves_a_quarter_to_others() {
        let budget = Arc::<KeepBudget>::default();
        let new = |client: &Arc<ClientUsage>| KeptBytes::new(Arc::clone(&budget), Arc::clone(client));
        let (one, other) = (Arc::default(), Arc::default());
        let mut own = new(&one);
        own.set(KEPT_BYTES / 4 * 3 - 1);
        assert!(!own.is_over());
        own.set(KEPT_BYTES / 4 * 3);
        assert!(own.is_over());
        let mut others = new(&other);
        others.set(1024);
        assert!(!others.is_over());
        drop(own);
        assert_eq!((one.holds(Resource::KeptBytes), new(&one).is_over()), (0, false));
    }

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_client_over_its_share_is_not_read_and_others_are() {
        let budget = Arc::new(RetentionBudget::default());
        let (greedy, other) = (Arc::default(), Arc::default());
        let retained =
            |client: &Arc<ClientUsage>| RetainedBytes::new(Arc::clone(&budget), Arc::clone(client));
        let (mut first, mut second) = (retained(&greedy), retained(&greedy));
        first.set(RETAINED_BYTES / 4 * 3);
        second.set(RETAINED_MIN_BYTES);
        assert!(!first.has_room(None) && !second.has_room(None));
        // Each process may retain one read.
        second.set(RETAINED_MIN_BYTES - 1);
        assert!(second.has_room(None));
        let mut others = retained(&other);
        others.set(RETAINED_BYTES / 8);
        assert!(others.has_room(None));
        drop((first, second, others));
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
        assert_eq!(greedy.holds(Resource::RetainedBytes), 0);
    }

    #[test]
    fn a_driver_that_waits_for_room_is_woken_once_when_bytes_are_returned() {
        let budget = Arc::new(RetentionBudget::default());
        let client = Arc::default();
        let retained = || RetainedBytes::new(Arc::clone(&budget), Arc::clone(&client));
        let (mut one, mut waits) = (retained(), retained());
        waits.set(RETAINED_MIN_BYTES);
        one.set(RETAINED_BYTES);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(!waits.has_room(Some(&waker)) && !waits.has_room(Some(&waker)));
        one.set(RETAINED_BYTES / 2);
        one.set(0);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(waits.has_room(None));
    }
}
