//! A bounded number of slots with a bounded queue, both shared fairly among keys.
//!
//! * A key takes a slot while it holds fewer than `weight` × the free slots. A single key gets at most
//!   `weight / (weight + 1)` of all slots. n keys that each take as many as they can get
//!   `n × weight / (n × weight + 1)` of them. The rest stays free for a key that holds none.
//! * A request beyond that share waits. Waiting keys get slots in round-robin order, and the requests of one key in the
//!   order of arrival. The queue is shared by the same rule, with weight 1.
//! * A request is refused, at once, only when its key's share of the queue is full.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Slots shared by key, as the [module](self) describes. Clones share them.
#[derive(Clone)]
pub struct Slots<K: Key>(Arc<Mutex<State<K>>>);

/// Identifies one of the parties that share the slots.
pub trait Key: Copy + Eq + Hash {}

impl<K: Copy + Eq + Hash> Key for K {}

/// A taken slot. Drop frees it for the next waiting request.
pub struct Slot<K: Key> {
    slots: Slots<K>,
    key: K,
}

/// A key's share of the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// The capacity of [`Slots`], and how keys share it.
#[derive(Debug, Clone, Copy)]
pub struct SlotLimits {
    /// Slots of all keys.
    pub slots: usize,
    /// Slots that one key may hold for each free slot.
    pub weight: usize,
    /// Requests that may wait, of all keys.
    pub queue: usize,
}

struct State<K> {
    limits: SlotLimits,
    taken: usize,
    /// Taken slots by key; only keys with at least one.
    held: HashMap<K, usize>,
    waiting: usize,
    /// Waiting requests by key, oldest first; only keys with at least one.
    queues: HashMap<K, VecDeque<Waiter>>,
    /// The keys of `queues`, in round-robin order.
    turns: VecDeque<K>,
    /// Number of the last waiter.
    counted: u64,
}

struct Waiter {
    number: u64,
    /// Sent after the slot is counted as taken.
    granted: oneshot::Sender<()>,
}

/// A request for a slot, which may wait in the queue. Drop before [`granted`](Self::granted) returns cancels it.
pub struct SlotRequest<K: Key> {
    slots: Slots<K>,
    key: K,
    waits: Option<(u64, oneshot::Receiver<()>)>,
    is_taken: bool,
}

impl<K: Key> Slots<K> {
    /// All slots are free.
    pub fn new(limits: SlotLimits) -> Self {
        Self(Arc::new(Mutex::new(State {
            limits,
            taken: 0,
            held: HashMap::new(),
            waiting: 0,
            queues: HashMap::new(),
            turns: VecDeque::new(),
            counted: 0,
        })))
    }

    /// Requests a slot for `key`. Takes a free one at once, or joins the queue.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn request(&self, key: K) -> Result<SlotRequest<K>, QueueFull> {
        let mut state = self.lock();
        let request = |waits| SlotRequest {
            slots: self.clone(),
            key,
            waits,
            is_taken: false,
        };
        if !state.queues.contains_key(&key) && state.may_take(key) {
            state.take(key);
            return Ok(request(None));
        }
        state.wait(key).map(|waits| request(Some(waits)))
    }

    /// The number of taken slots.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> SlotRequest<K> {
    /// Waits until the slot is granted, and returns it. Cancellation safe: a dropped call leaves the queue.
    pub async fn granted(mut self) -> Slot<K> {
        if let Some((_, granted)) = &mut self.waits {
            // The sender stays in the shared state, which `self.slots` keeps alive, until it sends.
            let _ = granted.await;
        }
        self.is_taken = true;
        Slot {
            slots: self.slots.clone(),
            key: self.key,
        }
    }
}

impl<K: Key> Drop for SlotRequest<K> {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let mut state = self.slots.lock();
        let is_granted = match &mut self.waits {
            None => true,
            // Grants are sent under the lock, which is held here: none can follow.
            Some((number, granted)) => match granted.try_recv() {
                Ok(()) => true,
                Err(_) => {
                    state.leave(self.key, *number);
                    false
                }
            },
        };
        if is_granted {
            state.give_back(self.key);
        }
        state.grant();
    }
}

impl<K: Key> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.give_back(self.key);
        state.grant();
    }
}

impl<K: Key> State<K> {
    fn may_take(&self, key: K) -> bool {
        let held = self.held.get(&key).copied().unwrap_or(0);
        let free = self.limits.slots.saturating_sub(self.taken);
        held < self.limits.weight.saturating_mul(free)
    }

    fn take(&mut self, key: K) {
        self.taken += 1;
        *self.held.entry(key).or_default() += 1;
    }

    fn give_back(&mut self, key: K) {
        self.taken -= 1;
        if let Some(held) = self.held.get_mut(&key) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&key);
            }
        }
    }

    fn wait(&mut self, key: K) -> Result<(u64, oneshot::Receiver<()>), QueueFull> {
        let free = self.limits.queue.saturating_sub(self.waiting);
        let queue = self.queues.get(&key).map_or(0, VecDeque::len);
        if queue >= free {
            return Err(QueueFull);
        }
        let (granted, is_granted) = oneshot::channel();
        self.counted += 1;
        self.waiting += 1;
        let number = self.counted;
        if queue == 0 {
            self.turns.push_back(key);
        }
        let waiter = Waiter { number, granted };
        self.queues.entry(key).or_default().push_back(waiter);
        Ok((number, is_granted))
    }

    fn leave(&mut self, key: K, number: u64) {
        if let Some(queue) = self.queues.get_mut(&key)
            && let Some(at) = queue.iter().position(|waiter| waiter.number == number)
        {
            queue.remove(at);
            self.waiting -= 1;
            self.forget_if_empty(key);
        }
    }

    fn forget_if_empty(&mut self, key: K) {
        if self.queues.get(&key).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&key);
            self.turns.retain(|turn| *turn != key);
        }
    }

    /// Grants free slots to waiting requests.
    fn grant(&mut self) {
        while let Some(at) = self.turns.iter().position(|key| self.may_take(*key)) {
            // Round robin: this key's next turn comes last.
            let Some(key) = self.turns.remove(at) else { return };
            self.turns.push_back(key);
            let waiter = self.queues.get_mut(&key).and_then(VecDeque::pop_front);
            self.forget_if_empty(key);
            let Some(waiter) = waiter else { continue };
            self.waiting -= 1;
            self.take(key);
            if waiter.granted.send(()).is_err() {
                self.give_back(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn slots(slots: usize, weight: usize, queue: usize) -> Slots<char> {
        Slots::new(SlotLimits { slots, weight, queue })
    }

    /// As many slots as this key gets without waiting.
    fn all(slots: &Slots<char>, key: char) -> Vec<Slot<char>> {
        let one = || slots.request(key).ok()?.granted().now_or_never();
        std::iter::from_fn(one).collect()
    }

    #[test]
    fn however_many_a_key_takes_another_finds_one() {
        let slots = slots(64, 1, 64);
        let mut held = Vec::new();
        for (key, expected) in [('a', 32), ('b', 16), ('c', 8), ('d', 4), ('e', 2)] {
            let some = all(&slots, key);
            assert_eq!(some.len(), expected, "{key}");
            held.push(some);
        }
        assert_eq!(slots.taken(), 62);
        assert_eq!(all(&slots, 'f').len(), 1);
    }

    #[test]
    fn a_greater_weight_leaves_less_to_others_but_never_nothing() {
        let slots = slots(1024, 4, 0);
        let first = all(&slots, 'a');
        assert_eq!(first.len(), 820);
        let second = all(&slots, 'b');
        assert!(second.len() > 100, "{}", second.len());
        // Freed slots become available to the other key.
        drop(first);
        assert_eq!(all(&slots, 'b').len() + second.len(), 820);
    }

    #[test]
    fn waiting_keys_get_slots_in_turn_and_requests_of_a_key_in_order() {
        let slots = slots(2, 1, 100);
        let held = all(&slots, 'x');
        assert_eq!(held.len(), 1);
        let other = all(&slots, 'y');
        let mut waiting: Vec<_> = "aaabb"
            .chars()
            .map(|key| (key, Some(slots.request(key).unwrap().granted().boxed())))
            .collect();
        let mut served = Vec::new();
        drop((held, other));
        while waiting.iter().any(|(_, waits)| waits.is_some()) {
            let mut slots = Vec::new();
            for (at, (key, waits)) in waiting.iter_mut().enumerate() {
                if let Some(slot) = waits.as_mut().and_then(|waits| waits.now_or_never()) {
                    served.push((*key, at));
                    slots.push(slot);
                    *waits = None;
                }
            }
            assert!(!slots.is_empty(), "no waiting request is granted: {served:?}");
        }
        let order = |of: char| {
            served
                .iter()
                .filter(move |(key, _)| *key == of)
                .map(|(_, at)| *at)
        };
        assert!(order('a').is_sorted() && order('b').is_sorted());
        // The second request of `b` is granted before the third of `a`.
        let at = |wanted| served.iter().position(|(_, at)| *at == wanted);
        assert!(at(4) < at(2), "{served:?}");
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn a_request_is_refused_only_when_its_share_of_the_queue_is_full() {
        let slots = slots(1, 1, 4);
        let held = all(&slots, 'x');
        let one = slots.request('a').unwrap();
        let two = slots.request('a').unwrap();
        assert_eq!(slots.request('a').err(), Some(QueueFull));
        let other = slots.request('b').unwrap();
        drop(one);
        let three = slots.request('a').unwrap();
        // A granted slot whose request is dropped goes to the next request.
        drop(held);
        drop(two);
        assert!(other.granted().now_or_never().is_some());
        assert!(three.granted().now_or_never().is_some());
        let state = slots.lock();
        assert_eq!((state.taken, state.waiting), (0, 0));
        assert!(state.held.is_empty() && state.queues.is_empty() && state.turns.is_empty());
    }
}
