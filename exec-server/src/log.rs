//! The log of one process's events: numbered in the order in which they were read, a ring bounded in bytes.
//!
//! A pure state machine. The driver checks for [room](EventLog::has_room) before it reads a pipe, and appends the
//! output. The call that is attached takes the event [after](EventLog::next_after) the last one that it has, and
//! [hands it over](EventLog::hand_over) to the transport. A log that [keeps](EventLog::keep) what was handed over does
//! so until its room is needed: so a client that lost its session, and with it what was on the way, attaches again and
//! misses nothing. Other logs drop an event when it is handed over.
//!
//! Invariants:
//! * `seq` starts at 1 and has no gap. A reader whose next events are not in the log gets a [`Gap`](Next::Gap), never
//!   silence;
//! * output that was not handed over is evicted only under [`OnFull::Drop`];
//! * output that was handed over is evicted oldest first, and only when what was handed over after it reaches a limit
//!   of [`Keep`], or another process needs the room;
//! * under [`OnFull::Block`], while the transport tells what the client [has consumed](EventLog::consumed), output that
//!   it has not consumed is never evicted;
//! * while output is appended only when there is room, and no more than [`READ_BYTES`] of it, the log never holds more
//!   output that was not handed over than the capacity;
//! * Started, Exited and Closed are always taken, and only discarded: an exit never waits for room, and a reader that
//!   comes late finds it.

use std::collections::VecDeque;
use std::time::Instant;

use baton_proto::exec::ProcessEvent;
use baton_proto::exec::process_event::Kind;
use prost::Message as _;

use crate::error::RequestError;
use crate::limits::READ_BYTES;

#[cfg(test)]
mod tests;

/// The memory of an event beside its output. It is counted, so that single-byte writes are bounded too.
const ENTRY_BYTES: usize = size_of::<Logged>();

/// The bytes of gRPC's frame before each message.
const GRPC_PREFIX_BYTES: usize = 5;

/// What happens to output when the log is full of output that was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The pipes are not read, and the child blocks.
    #[default]
    Block,
    /// The oldest output is dropped. A reader that has not read it gets a gap.
    Drop,
}

/// How much output a log keeps that was handed over. The default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Bytes on the wire. If flow control lets no more than this be on the way, the client has consumed whatever is
    /// evicted.
    pub encoded: usize,
    /// Bytes of memory. More than `encoded`, because a short event takes more memory than bytes on the wire.
    pub memory: usize,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The next event.
    Event(ProcessEvent),
    /// The events before this `seq` are not in the log; the reader continues with it.
    Gap {
        /// The first `seq` left. It may not exist yet.
        first: u64,
    },
}

#[derive(Debug)]
struct Logged {
    event: ProcessEvent,
    /// When it was appended.
    at: Instant,
    /// The bytes of the attached call's response up to the end of this event; [`NOT_HANDED`] before.
    end: u64,
}

/// The event was not handed to the call that is attached.
const NOT_HANDED: u64 = u64::MAX;

/// See the [module](self).
#[derive(Debug)]
pub struct EventLog {
    /// Ascending. Evicted output leaves gaps.
    events: VecDeque<Logged>,
    /// The memory of `events`.
    bytes: usize,
    /// Of `bytes`, the output that was handed over.
    handed_bytes: usize,
    /// The same output, on the wire.
    handed_encoded: usize,
    capacity: usize,
    on_full: OnFull,
    keep: Keep,
    last: u64,
    /// Everything up to here was handed over.
    handed: u64,
    /// The transport tells what the client has consumed.
    is_counted: bool,
    /// The client has consumed everything up to here, which was handed over.
    consumed: u64,
    /// Of `handed_bytes`, the output after `consumed`.
    unconsumed_bytes: usize,
    /// The same output, on the wire.
    unconsumed_encoded: usize,
    /// The bytes of the attached call's response so far.
    sent: u64,
    acknowledged: u64,
}

impl EventLog {
    /// An empty log that has no room beyond `capacity` bytes that were not handed over; a capacity below one read is
    /// raised to one read. It keeps nothing that was handed over.
    pub fn new(capacity: usize, on_full: OnFull) -> Self {
        Self {
            events: VecDeque::with_capacity(4),
            bytes: 0,
            handed_bytes: 0,
            handed_encoded: 0,
            capacity: capacity.max(READ_BYTES + ENTRY_BYTES),
            on_full,
            keep: Keep::default(),
            last: 0,
            handed: 0,
            is_counted: false,
            consumed: 0,
            unconsumed_bytes: 0,
            unconsumed_encoded: 0,
            sent: 0,
            acknowledged: 0,
        }
    }

    /// What happens from now on when the log is full.
    pub fn set_on_full(&mut self, on_full: OnFull) {
        self.on_full = on_full;
    }

    /// Whether the oldest output is dropped when the log is full.
    pub fn drops(&self) -> bool {
        self.on_full == OnFull::Drop
    }

    /// Drops the oldest output that was not handed over, if there is any.
    pub fn drop_oldest_waiting(&mut self) -> bool {
        self.evict_oldest_after(self.handed)
    }

    /// Keeps what is handed over from now on, up to these limits.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Adds an event and returns its `seq`. `at` is not before that of the event before.
    pub fn append(&mut self, kind: Kind, at: Instant) -> u64 {
        self.last = self.next_seq();
        let event = ProcessEvent {
            seq: self.last,
            kind: Some(kind),
        };
        let cost = cost(&event);
        if is_output(&event) && self.on_full == OnFull::Drop {
            while self.waiting_bytes() + cost > self.capacity && self.evict_oldest_after(self.handed) {}
        }
        self.bytes += cost;
        self.events.push_back(Logged {
            event,
            at,
            end: NOT_HANDED,
        });
        self.last
    }

    /// Whether a read of [`READ_BYTES`] may be made.
    pub fn has_room(&self) -> bool {
        match self.on_full {
            OnFull::Block => self.waiting_bytes() + READ_BYTES + ENTRY_BYTES <= self.capacity,
            OnFull::Drop => true,
        }
    }

    /// What a reader gets that has everything up to `seq`; `None` if there is nothing more yet. Output is shared, not
    /// copied.
    pub fn next_after(&self, seq: u64) -> Option<Next> {
        if seq >= self.last {
            return None;
        }
        let index = self.index_after(seq);
        Some(match self.events.get(index) {
            Some(Logged { event, .. }) if event.seq == seq + 1 => Next::Event(event.clone()),
            Some(Logged { event, .. }) => Next::Gap { first: event.seq },
            None => Next::Gap {
                first: self.next_seq(),
            },
        })
    }

    /// Everything up to `seq` was handed over to the transport. Returns true if there is room now and was none before,
    /// so that the caller wakes the driver.
    pub fn hand_over(&mut self, seq: u64) -> bool {
        if self.keep == Keep::default() {
            return self.discard(seq);
        }
        let had_room = self.has_room();
        let (from, to) = (self.handed, seq.min(self.last));
        if to <= from {
            return false;
        }
        let begin = self.index_after(from);
        let handed = self.events.range(begin..).map(|logged| &logged.event);
        for event in handed
            .take_while(|event| event.seq <= to)
            .filter(|event| is_output(event))
        {
            self.handed_bytes += cost(event);
            self.handed_encoded += encoded(event);
            self.unconsumed_bytes += cost(event);
            self.unconsumed_encoded += encoded(event);
        }
        self.handed = to;
        while self.handed_encoded > self.keep.encoded || self.handed_bytes > self.keep.memory {
            if !self.evict_handed() {
                break;
            }
        }
        !had_room && self.has_room()
    }

    /// A call begins whose client has everything up to `seq`. `is_counted`: its transport tells what the client
    /// consumes. Returns as [`hand_over`](Self::hand_over).
    pub fn begin_call(&mut self, seq: u64, is_counted: bool) -> bool {
        let has_made_room = self.received(seq);
        self.unconsume_after(seq);
        self.is_counted = is_counted;
        self.sent = 0;
        for logged in &mut self.events {
            logged.end = NOT_HANDED;
        }
        has_made_room
    }

    /// The client of the new call does not have what that of an earlier one has consumed after `seq`.
    fn unconsume_after(&mut self, seq: u64) {
        let (begin, end) = (self.index_after(seq), self.index_after(self.consumed));
        if begin < end {
            for Logged { event, .. } in self.events.range(begin..end) {
                if is_output(event) {
                    self.unconsumed_bytes += cost(event);
                    self.unconsumed_encoded += encoded(event);
                }
            }
            self.consumed = seq;
        }
    }

    /// The client has everything up to `seq`. Returns as [`hand_over`](Self::hand_over).
    pub fn received(&mut self, seq: u64) -> bool {
        let has_made_room = self.hand_over(seq);
        self.consume_while(|logged| logged.event.seq <= seq);
        has_made_room
    }

    /// An event about the call goes before the next one of the process.
    pub fn tell(&mut self, event: &ProcessEvent) {
        self.sent += encoded(event) as u64;
    }

    /// As [`hand_over`](Self::hand_over), to the attached call, whose response now ends with this event.
    pub fn hand_to_call(&mut self, seq: u64) -> bool {
        if self.keep != Keep::default() {
            let index = self.index_after(seq - 1);
            if let Some(logged) = self.events.get_mut(index) {
                self.sent += encoded(&logged.event) as u64;
                logged.end = self.sent;
            }
        }
        self.hand_over(seq)
    }

    /// The client has consumed this many bytes of the attached call's response.
    pub fn consumed(&mut self, bytes: u64) {
        self.consume_while(|logged| logged.end <= bytes);
    }

    /// Whether output is held back until the client has consumed it.
    pub fn holds_unconsumed(&self) -> bool {
        self.is_counted && self.keep != Keep::default() && self.on_full == OnFull::Block
    }

    /// Bytes of memory of output that was handed over, and that the client has not consumed.
    pub fn unconsumed_bytes(&self) -> usize {
        self.unconsumed_bytes
    }

    /// The same output as bytes on the wire. An event that was consumed in part counts as a whole.
    pub fn unconsumed_encoded(&self) -> usize {
        self.unconsumed_encoded
    }

    /// Removes all events up to and including `seq`. Returns as [`hand_over`](Self::hand_over).
    pub fn discard(&mut self, seq: u64) -> bool {
        let had_room = self.has_room();
        while self.events.front().is_some_and(|logged| logged.event.seq <= seq) {
            if let Some(Logged { event, .. }) = self.events.pop_front() {
                self.forget(&event);
            }
        }
        !had_room && self.has_room()
    }

    /// Evicts all output that was handed over and may be evicted, because other processes need the memory.
    pub fn evict_handed_over(&mut self) {
        while self.handed_bytes > 0 && self.evict_handed() {}
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

    /// Bytes of memory of output that was handed over and is kept.
    pub fn kept_bytes(&self) -> usize {
        self.handed_bytes
    }

    /// Bytes of memory of everything else in the log.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes - self.handed_bytes
    }

    /// The `seq` before the first event of this time or a later one, and not after that of the exit.
    pub fn seq_before(&self, at: Instant) -> u64 {
        let first = |logged: &Logged| logged.at >= at || matches!(logged.event.kind, Some(Kind::Exited(_)));
        let index = self.events.iter().position(first).unwrap_or(self.events.len());
        self.events
            .get(index)
            .map_or(self.last, |logged| logged.event.seq - 1)
    }

    /// The index of the first event after `seq`.
    fn index_after(&self, seq: u64) -> usize {
        // Where it is if no later event was evicted, which is nearly always so. A search costs cache misses.
        let later = usize::try_from(self.last.saturating_sub(seq)).unwrap_or(usize::MAX);
        let guess = self.events.len().saturating_sub(later);
        let seq_at = |index: usize| self.events.get(index).map(|logged| logged.event.seq);
        let follows = guess == self.events.len() || seq_at(guess).is_some_and(|at| at > seq);
        let precedes = guess == 0 || seq_at(guess - 1).is_some_and(|before| before <= seq);
        match follows && precedes {
            true => guess,
            false => self.events.partition_point(|logged| logged.event.seq <= seq),
        }
    }

    /// Evicts the oldest output that was handed over, if it may be evicted.
    fn evict_handed(&mut self) -> bool {
        let is_held = self.holds_unconsumed() && self.handed_bytes == self.unconsumed_bytes;
        !is_held && self.evict_oldest_after(0)
    }

    /// The client has consumed the events that were handed over, from the first one on, for which this is true.
    fn consume_while(&mut self, is_consumed: impl Fn(&Logged) -> bool) {
        let begin = self.index_after(self.consumed);
        for logged in self.events.range(begin..) {
            let event = &logged.event;
            if event.seq > self.handed || !is_consumed(logged) {
                break;
            }
            self.consumed = event.seq;
            if is_output(event) {
                self.unconsumed_bytes -= cost(event);
                self.unconsumed_encoded -= encoded(event);
            }
        }
    }

    /// Evicts the oldest output after `seq`, if there is any. With 0 at most two events without output are before it.
    fn evict_oldest_after(&mut self, seq: u64) -> bool {
        let begin = self.index_after(seq);
        let mut later = self.events.range(begin..);
        let index = later.position(|logged| is_output(&logged.event));
        let Some(Logged { event, .. }) = index.and_then(|index| self.events.remove(begin + index)) else {
            return false;
        };
        self.forget(&event);
        true
    }

    /// An event has left.
    fn forget(&mut self, event: &ProcessEvent) {
        self.bytes -= cost(event);
        if is_output(event) && event.seq <= self.handed {
            self.handed_bytes -= cost(event);
            self.handed_encoded -= encoded(event);
            if event.seq > self.consumed {
                self.unconsumed_bytes -= cost(event);
                self.unconsumed_encoded -= encoded(event);
            }
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

/// The bytes of flow control that the event takes.
fn encoded(event: &ProcessEvent) -> usize {
    GRPC_PREFIX_BYTES + event.encoded_len()
}
