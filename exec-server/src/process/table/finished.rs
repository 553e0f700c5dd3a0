//! The terminations of processes that finished recently, in little memory, so that a repeated start never runs a
//! command twice.
//!
//! One queue over all clients, oldest first, and an index into it. An id is remembered for [`FINISHED_FOR`]; when there
//! is no room it is forgotten earlier, but never before [`FINISHED_AT_LEAST`]. Without room even then, new starts are
//! refused. Time is an argument. The age of an id is computed from the server's clock, never from the time that a
//! client wrote into it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_proto::ProcessId;

use super::super::shares::{ClientUsage, Resource};
use crate::limits::{FINISHED_AT_LEAST, FINISHED_FOR};
use crate::termination::Termination;

/// A prefix of `Start::parameters`, long enough to distinguish the commands of one client.
pub(super) type Digest = [u8; 16];

/// Ids that are forgotten at most per insertion, so that no start waits long.
const FORGET_AT_ONCE: usize = 4;

/// Queues shorter than this are not worth shrinking.
const SHRINK_ABOVE: usize = 4096;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct FinishedProcesses {
    /// Oldest first.
    queue: VecDeque<FinishedProcess>,
    /// The position in the queue, counted from the first insertion ever, modulo 2^32.
    index: HashMap<(usize, ProcessId), u32>,
    /// The number of forgotten ids, modulo 2^32.
    forgotten: u32,
}

/// A process that has ended.
#[derive(Debug)]
pub(super) struct FinishedProcess {
    pub(super) client: Arc<ClientUsage>,
    pub(super) id: ProcessId,
    pub(super) digest: Digest,
    pub(super) termination: Termination,
    pub(super) at: Instant,
}

/// The address of its counts identifies a client. The queue and the table's list of clients hold them, so it does not
/// change.
fn key(client: &Arc<ClientUsage>, id: ProcessId) -> (usize, ProcessId) {
    (Arc::as_ptr(client).addr(), id)
}

impl FinishedProcesses {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Inserts a process. Its id is in the client's counts already, and stays there until it is forgotten.
    pub(super) fn insert(&mut self, process: FinishedProcess) {
        for _ in 0..FORGET_AT_ONCE {
            if !self.forget_if(process.at, FINISHED_FOR) {
                break;
            }
        }
        let position = self.forgotten.wrapping_add(self.queue.len() as u32);
        self.index.insert(key(&process.client, process.id), position);
        self.queue.push_back(process);
    }

    pub(super) fn find(&self, client: &Arc<ClientUsage>, id: ProcessId) -> Option<&FinishedProcess> {
        let position = *self.index.get(&key(client, id))?;
        self.queue.get(position.wrapping_sub(self.forgotten) as usize)
    }

    /// Makes room by forgetting the oldest id, if it is old enough.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        self.forget_if(now, FINISHED_AT_LEAST)
    }

    /// The time until `count` ids may be forgotten; `None` if fewer are remembered.
    pub(super) fn room_in(&self, now: Instant, count: usize) -> Option<Duration> {
        let last = self.queue.get(count.checked_sub(1)?)?;
        let age = now.saturating_duration_since(last.at);
        Some(FINISHED_AT_LEAST.saturating_sub(age))
    }

    fn forget_if(&mut self, now: Instant, age: Duration) -> bool {
        let is_due = |process: &FinishedProcess| now.saturating_duration_since(process.at) >= age;
        if !self.queue.front().is_some_and(is_due) {
            return false;
        }
        if let Some(process) = self.queue.pop_front() {
            self.index.remove(&key(&process.client, process.id));
            self.forgotten = self.forgotten.wrapping_add(1);
            process.client.give_back(Resource::ProcessIds, 1);
        }
        if self.queue.capacity() > SHRINK_ABOVE && self.queue.len() < self.queue.capacity() / 4 {
            self.queue.shrink_to(self.queue.capacity() / 2);
            self.index.shrink_to(self.queue.capacity());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FINISHED_MAX;

    fn process(client: &Arc<ClientUsage>, n: u32, at: Instant) -> FinishedProcess {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        client.take(Resource::ProcessIds, 1);
        FinishedProcess {
            client: Arc::clone(client),
            id: ProcessId(id),
            digest: [1; 16],
            termination: Termination::Running,
            at,
        }
    }

    fn id(n: u32) -> ProcessId {
        process(&Arc::default(), n, Instant::now()).id
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_none_too_early() {
        let (mut finished, client) = (FinishedProcesses::default(), Arc::default());
        let start = Instant::now();
        let at = |n: u32| start + Duration::from_millis(n.into());
        for n in 0..1000 {
            finished.insert(process(&client, n, at(n)));
        }
        assert_eq!(client.holds(Resource::ProcessIds), 1000);
        assert!(!finished.make_room(at(999)));
        assert_eq!(
            finished.room_in(at(999), 1),
            Some(FINISHED_AT_LEAST - Duration::from_millis(999))
        );
        let later = at(9) + FINISHED_AT_LEAST;
        while finished.make_room(later) {}
        assert_eq!((finished.len(), client.holds(Resource::ProcessIds)), (990, 990));
        assert!(finished.find(&client, id(9)).is_none());
        for n in 10..1000 {
            assert_eq!(finished.find(&client, id(n)).unwrap().id, id(n));
        }
        // Another client's id is not found.
        assert!(finished.find(&Arc::default(), id(500)).is_none());
    }

    #[test]
    fn old_ids_are_forgotten_though_there_is_room_and_their_memory_is_freed() {
        let (mut finished, client) = (FinishedProcesses::default(), Arc::default());
        let start = Instant::now();
        for n in 0..100_000 {
            finished.insert(process(&client, n, start));
        }
        let full = finished.queue.capacity();
        let later = start + FINISHED_FOR;
        for n in 100_000..140_000 {
            finished.insert(process(&client, n, later));
        }
        assert_eq!(finished.len(), 40_000, "and no more than four at a time");
        assert_eq!(client.holds(Resource::ProcessIds), 40_000);
        assert!(finished.find(&client, id(99_999)).is_none());
        assert!(finished.find(&client, id(100_000)).is_some());
        for n in 140_000..141_000 {
            finished.insert(process(&client, n, later + FINISHED_FOR));
        }
        for n in 141_000..160_000 {
            finished.insert(process(&client, n, later + FINISHED_FOR));
        }
        assert!(finished.queue.capacity() < full);
    }

    #[test]
    fn an_id_takes_no_more_memory_than_the_limits_say() {
        assert!(
            size_of::<FinishedProcess>() <= 160,
            "{}",
            size_of::<FinishedProcess>()
        );
        // The queue and the index grow by doubling.
        let queue = FINISHED_MAX.next_power_of_two() * size_of::<FinishedProcess>();
        let index = (FINISHED_MAX * 8 / 7).next_power_of_two() * (size_of::<((usize, ProcessId), u32)>() + 1);
        assert!(
            queue + index <= crate::limits::FINISHED_BYTES,
            "{}",
            queue + index
        );
    }
}
