//! The log of one process's events: numbered in the order in which they were read, bounded in bytes.
//!
//! A pure state machine. The driver checks for [room](EventLog::has_room) before it reads a pipe, and appends the
//! output. The response stream takes the event [after](EventLog::next_after) the last one that it delivered, and evicts
//! it. No event is dropped: when the log is full, the pipes are not read, and the child blocks.
//!
//! Invariants:
//! * `seq` starts at 1 and has no gap;
//! * while output is appended only when there is room, and no more than [`READ_BYTES`] of it, output never holds more
//!   than the capacity;
//! * Started, Exited and Closed are always taken: an exit never waits for room.

use std::collections::VecDeque;

use baton_proto::exec::ProcessEvent;
use baton_proto::exec::process_event::Kind;

use crate::error::RequestError;
use crate::limits::READ_BYTES;

/// The memory of an event beside its output. It is counted, so that single-byte writes are bounded too.
const ENTRY_BYTES: usize = size_of::<ProcessEvent>();

/// See the [module](self).
#[derive(Debug)]
pub struct EventLog {
    /// Ascending, without gaps; the last one has the `seq` `last`.
    events: VecDeque<ProcessEvent>,
    bytes: usize,
    capacity: usize,
    last: u64,
    acknowledged: u64,
}

impl EventLog {
    /// An empty log that has no room beyond `capacity` bytes; a capacity below one read is raised to one read.
    pub fn new(capacity: usize) -> Self {
        Self {
            events: VecDeque::with_capacity(4),
            bytes: 0,
            capacity: capacity.max(READ_BYTES + ENTRY_BYTES),
            last: 0,
            acknowledged: 0,
        }
    }

    /// Adds an event and returns its `seq`.
    pub fn append(&mut self, kind: Kind) -> u64 {
        self.last = self.next_seq();
        let event = ProcessEvent {
            seq: self.last,
            kind: Some(kind),
        };
        self.bytes += cost(&event);
        self.events.push_back(event);
        self.last
    }

    /// Whether a read of [`READ_BYTES`] may be made.
    pub fn has_room(&self) -> bool {
        self.bytes + READ_BYTES + ENTRY_BYTES <= self.capacity
    }

    /// The first retained event after `seq`. Output is shared, not copied.
    pub fn next_after(&self, seq: u64) -> Option<ProcessEvent> {
        let first = self.events.front()?.seq;
        let index = usize::try_from((seq + 1).saturating_sub(first)).ok()?;
        self.events.get(index).cloned()
    }

    /// Removes all events up to and including `seq`. Returns true if there is room now and was none before, so that the
    /// caller wakes the driver.
    pub fn evict(&mut self, seq: u64) -> bool {
        let had_room = self.has_room();
        while self.events.front().is_some_and(|event| event.seq <= seq) {
            if let Some(event) = self.events.pop_front() {
                self.bytes -= cost(&event);
            }
        }
        !had_room && self.has_room()
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
}

fn cost(event: &ProcessEvent) -> usize {
    let payload = match &event.kind {
        Some(Kind::Output(output)) => output.data.len(),
        _ => 0,
    };
    ENTRY_BYTES + payload
}

#[cfg(test)]
mod tests {
    use baton_proto::exec::{Closed, Output, OutputStream, Started};
    use bytes::Bytes;

    use super::*;

    fn output(len: usize) -> Kind {
        Kind::Output(Output {
            stream: OutputStream::Stdout.into(),
            data: Bytes::from(vec![7; len]),
        })
    }

    #[test]
    fn events_are_numbered_from_one_and_read_in_order() {
        let mut log = EventLog::new(1 << 20);
        assert_eq!(log.append(Kind::Started(Started::default())), 1);
        assert_eq!(log.append(output(3)), 2);
        assert_eq!(log.append(Kind::Closed(Closed::default())), 3);
        let mut seen = 0;
        let mut seqs = Vec::new();
        while let Some(event) = log.next_after(seen) {
            seen = event.seq;
            seqs.push(seen);
        }
        assert_eq!(seqs, [1, 2, 3]);
        assert_eq!(log.next_after(3), None);
    }

    #[test]
    fn reading_after_an_evicted_event_gives_the_first_one_left() {
        let mut log = EventLog::new(1 << 20);
        for _ in 0..5 {
            log.append(output(1));
        }
        log.evict(3);
        assert_eq!(log.next_after(0).unwrap().seq, 4);
        assert_eq!(log.next_after(4).unwrap().seq, 5);
        assert_eq!(log.next_after(u64::MAX - 1), None);
    }

    #[test]
    fn output_that_asks_for_room_never_exceeds_the_capacity() {
        for len in [1, 100, READ_BYTES] {
            let capacity = 300_000;
            let mut log = EventLog::new(capacity);
            while log.has_room() {
                log.append(output(len));
            }
            assert!(log.bytes() <= capacity, "{} with chunks of {len}", log.bytes());
            assert!(log.bytes() > capacity / 2, "{} with chunks of {len}", log.bytes());
        }
    }

    #[test]
    fn evict_reports_once_that_there_is_room() {
        let mut log = EventLog::new(3 * READ_BYTES);
        while log.has_room() {
            log.append(output(READ_BYTES));
        }
        let last = log.last();
        assert!(!log.evict(0), "nothing was evicted");
        assert!(log.evict(1));
        assert!(!log.evict(last), "there was room already");
        assert_eq!(log.bytes(), 0);
    }

    #[test]
    fn a_full_log_takes_the_exit_and_the_end() {
        let mut log = EventLog::new(0);
        while log.has_room() {
            log.append(output(READ_BYTES));
        }
        let seq = log.append(Kind::Closed(Closed::default()));
        assert_eq!(log.last(), seq);
    }

    #[test]
    fn an_acknowledgement_ahead_of_the_log_is_refused() {
        let mut log = EventLog::new(1 << 20);
        log.append(output(1));
        log.append(output(1));
        assert_eq!(log.acknowledge(2), Ok(()));
        assert_eq!(log.acknowledge(1), Ok(()));
        assert_eq!(log.acknowledged(), 2);
        assert_eq!(
            log.acknowledge(3),
            Err(RequestError::Ack { last: 2, received: 3 })
        );
    }
}
