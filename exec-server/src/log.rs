//! The log of one process's events: numbered in the order in which they were read, a ring bounded in bytes.
//!
//! A pure state machine. The driver checks for [room](EventLog::has_room) before it reads a pipe, and appends the
//! output. A reader takes the event [after](EventLog::next_after) the last one that it has. What the owner has
//! [consumed](EventLog::consume) may be evicted, and is evicted only for room: until then a later reader finds it. A
//! log whose events nobody will read again [discards](EventLog::discard) them at once.
//!
//! Invariants:
//! * `seq` starts at 1 and has no gap. A reader whose next events are not retained gets a [`Gap`](Next::Gap), never
//!   silence;
//! * output that was not consumed is evicted only under [`OnFull::Drop`];
//! * while output is appended only when there is room, and no more than [`READ_BYTES`] of it, the log never holds more
//!   than the capacity and three events without output;
//! * Started, Exited and Closed are always taken, and only discarded: an exit never waits for room, and a reader that
//!   comes late finds it.

use std::collections::VecDeque;

use baton_proto::exec::ProcessEvent;
use baton_proto::exec::process_event::Kind;

use crate::error::RequestError;
use crate::limits::READ_BYTES;

#[cfg(test)]
mod tests;

/// The memory of an event beside its output. It is counted, so that single-byte writes are bounded too.
const ENTRY_BYTES: usize = size_of::<ProcessEvent>();

/// What happens to output when the log is full of output that was not consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The pipes are not read, and the child blocks.
    #[default]
    Block,
    /// The oldest output is dropped. A reader that has not read it gets a gap.
    Drop,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The next event.
    Event(ProcessEvent),
    /// The events before this `seq` are not retained; the reader continues with it.
    Gap {
        /// The first `seq` left. It may not exist yet.
        first: u64,
    },
}

/// See the [module](self).
#[derive(Debug)]
pub struct EventLog {
    /// Ascending. Evicted output leaves gaps.
    events: VecDeque<ProcessEvent>,
    /// The cost of `events`.
    bytes: usize,
    /// The cost of the output in `events` that was consumed.
    evictable: usize,
    capacity: usize,
    on_full: OnFull,
    last: u64,
    /// Everything up to here was consumed.
    consumed: u64,
    acknowledged: u64,
}

impl EventLog {
    /// An empty log that has no room beyond `capacity` bytes; a capacity below one read is raised to one read.
    pub fn new(capacity: usize, on_full: OnFull) -> Self {
        Self {
            events: VecDeque::with_capacity(4),
            bytes: 0,
            evictable: 0,
            capacity: capacity.max(READ_BYTES + ENTRY_BYTES),
            on_full,
            last: 0,
            consumed: 0,
            acknowledged: 0,
        }
    }

    /// Adds an event and returns its `seq`. Output evicts other output if there is no room for it.
    pub fn append(&mut self, kind: Kind) -> u64 {
        self.last = self.next_seq();
        let event = ProcessEvent {
            seq: self.last,
            kind: Some(kind),
        };
        if is_output(&event) {
            self.make_room(cost(&event));
        }
        self.bytes += cost(&event);
        self.events.push_back(event);
        self.last
    }

    /// Whether a read of [`READ_BYTES`] may be made.
    pub fn has_room(&self) -> bool {
        match self.on_full {
            OnFull::Block => self.bytes - self.evictable + READ_BYTES + ENTRY_BYTES <= self.capacity,
            OnFull::Drop => true,
        }
    }

    /// What a reader gets that has everything up to `seq`; `None` if there is nothing more yet. Output is shared, not
    /// copied.
    pub fn next_after(&self, seq: u64) -> Option<Next> {
        if seq >= self.last {
            return None;
        }
        let index = self.events.partition_point(|event| event.seq <= seq);
        Some(match self.events.get(index) {
            Some(event) if event.seq == seq + 1 => Next::Event(event.clone()),
            Some(event) => Next::Gap { first: event.seq },
            None => Next::Gap {
                first: self.next_seq(),
            },
        })
    }

    /// The owner has consumed everything up to `seq`, which becomes evictable. Returns true if there is room now and
    /// was none before, so that the caller wakes the driver.
    pub fn consume(&mut self, seq: u64) -> bool {
        let had_room = self.has_room();
        let (from, to) = (self.consumed, seq.min(self.last));
        if to <= from {
            return false;
        }
        let begin = self.events.partition_point(|event| event.seq <= from);
        let consumed = self.events.range(begin..).take_while(|event| event.seq <= to);
        self.evictable += consumed.filter(|event| is_output(event)).map(cost).sum::<usize>();
        self.consumed = to;
        !had_room && self.has_room()
    }

    /// Removes all events up to and including `seq`. Returns as [`consume`](Self::consume).
    pub fn discard(&mut self, seq: u64) -> bool {
        let had_room = self.has_room();
        while self.events.front().is_some_and(|event| event.seq <= seq) {
            if let Some(event) = self.events.pop_front() {
                self.forget(&event);
            }
        }
        !had_room && self.has_room()
    }

    /// Evicts all output that was consumed, because other processes need the memory.
    pub fn evict_consumed(&mut self) {
        while self.evictable > 0 {
            if !self.evict_oldest(OnFull::Block) {
                return;
            }
        }
    }

    /// Stores that the client has consumed everything up to `seq`. An older acknowledgement changes nothing.
    pub fn acknowledge(&mut self, seq: u64) -> Result<(), RequestError> {
        if seq > self.last {
            return Err(RequestError::Ack {
                last: self.last,
                received: seq,
            });
        }
        self.acknowledged = self.acknowledged.max(seq);
        Ok(())
    }

    /// The `seq` of the last event that the client has acknowledged; 0 before the first.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The `seq` of the event that is appended next.
    pub fn next_seq(&self) -> u64 {
        self.last + 1
    }

    /// The `seq` of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Evicts the oldest output until `more` bytes fit, as far as it may be evicted.
    fn make_room(&mut self, more: usize) {
        while self.bytes + more > self.capacity {
            if !self.evict_oldest(self.on_full) {
                return;
            }
        }
    }

    /// Evicts the oldest output, if it may be evicted. At most two events without output are before it.
    fn evict_oldest(&mut self, on_full: OnFull) -> bool {
        let Some(index) = self.events.iter().position(is_output) else {
            return false;
        };
        let is_consumed = self
            .events
            .get(index)
            .is_some_and(|event| event.seq <= self.consumed);
        if !is_consumed && on_full == OnFull::Block {
            return false;
        }
        if let Some(event) = self.events.remove(index) {
            self.forget(&event);
        }
        true
    }

    /// An event has left.
    fn forget(&mut self, event: &ProcessEvent) {
        self.bytes -= cost(event);
        if is_output(event) && event.seq <= self.consumed {
            self.evictable -= cost(event);
        }
    }
}

fn is_output(event: &ProcessEvent) -> bool {
    matches!(event.kind, Some(Kind::Output(_)))
}

fn cost(event: &ProcessEvent) -> usize {
    let payload = match &event.kind {
        Some(Kind::Output(output)) => output.data.len(),
        _ => 0,
    };
    ENTRY_BYTES + payload
}
