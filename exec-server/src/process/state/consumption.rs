//! What the client has consumed of the output, and how much a process may hold until then.

use std::time::Duration;

use baton_trace::call_end::CallEndCell;

use super::{Inner, ProcessState, wake};
use crate::limits::{KEPT_ENCODED_BYTES, KEPT_PROCESS_BYTES, UNCONSUMED_MIN_BYTES};

impl ProcessState {
    /// Whether a pipe may be read. If not, the driver is woken when it may.
    pub(in crate::process) fn has_room(&self) -> bool {
        let mut inner = self.lock();
        inner.is_abandoned()
            || inner.log.has_room() && inner.retained.has_room(inner.driver.as_ref()) && inner.may_hold_more()
    }

    /// A client that polls has everything up to `seq`. While no call is attached, this makes room for more.
    pub(in crate::process) fn polled(&self, seq: u64) {
        let mut inner = self.lock();
        if inner.grace.ends().is_none() {
            return;
        }
        let has_made_room = inner.log.received(seq);
        inner.count();
        if has_made_room || inner.awaits_consumption {
            wake(inner.driver.take());
        }
    }

    /// Whether this client keeps more output than the processes that it may have at once.
    pub(in crate::process) fn keeps_too_much(&self) -> bool {
        self.lock().kept.is_over_all()
    }

    /// How long the log of the process is kept after its end; `None`: not at all.
    pub(in crate::process) fn kept_for(&self) -> Option<Duration> {
        let inner = self.lock();
        let is_kept = !inner.is_abandoned() && !inner.grace.limit().is_zero();
        is_kept.then(|| inner.grace.limit())
    }
}

impl Inner {
    /// A call is attached whose client has everything up to `seq`. The caller wakes the driver.
    pub(super) fn begin_call(&mut self, seq: u64, consumed: Option<CallEndCell>) {
        self.consumed = consumed.filter(|cell| cell.consumed().is_some());
        self.log.begin_call(seq, self.consumed.is_some());
        self.count();
    }

    /// As [`EventLog::hand_to_call`](crate::log::EventLog::hand_to_call).
    pub(super) fn hand_over(&mut self, seq: u64) -> bool {
        self.consume();
        let has_made_room = self.log.hand_to_call(seq);
        self.count();
        has_made_room
    }

    /// Where full logs drop output and no call is attached, all output is only kept.
    pub(super) fn hand_over_unread(&mut self) {
        if self.log.drops() && self.grace.ends().is_some() {
            let last = self.log.last();
            self.log.hand_over(last);
        }
    }

    /// Drops output beyond the client's share, where full logs do.
    pub(super) fn make_room(&mut self) {
        while self.log.drops() {
            self.retained.set(self.log.waiting_bytes());
            if self.retained.has_room(None) || !self.log.drop_oldest_waiting() {
                return;
            }
        }
    }

    /// As [`EventLog::discard`](crate::log::EventLog::discard).
    pub(super) fn discard(&mut self, seq: u64) -> bool {
        let has_made_room = self.log.discard(seq);
        self.count();
        has_made_room
    }

    pub(super) fn count(&mut self) {
        self.retained.set(self.log.waiting_bytes());
        self.kept.set(self.log.kept_bytes());
        if self.log.kept_bytes() > 0 && self.kept.is_over() {
            self.log.evict_handed_over();
            self.kept.set(self.log.kept_bytes());
        }
        let is_live = self.is_open() && self.log.holds_unconsumed();
        self.kept
            .set_unconsumed(if is_live { self.log.unconsumed_bytes() } else { 0 });
    }

    /// Takes over what the client has consumed.
    fn consume(&mut self) {
        if let Some(bytes) = self.consumed.as_ref().and_then(CallEndCell::consumed) {
            self.log.consumed(bytes);
        }
    }

    /// Whether a pipe may be read, as far as the client's consumption is concerned. If not, the driver is woken when it
    /// may.
    ///
    /// This cannot deadlock: a process with a client that consumes everything is read again, whatever the budget is and
    /// whatever other processes do.
    /// 1. What waits in the log is taken by the transport, because its client consumes, so `waiting_bytes` become less
    ///    than the headers of `Started` and `Exited`. Each event that is taken wakes the driver.
    /// 2. The client then consumes everything that was sent. It holds back less than one batch of credit
    ///    ([`CREDIT_BATCH`](baton_channel::limits::CREDIT_BATCH)), and each `Credit` wakes the driver.
    /// 3. So less than one batch, and the rest of an event that begins before it, counts as not consumed. Together with
    ///    the headers that is less than [`UNCONSUMED_MIN_BYTES`], which a process may always have.
    fn may_hold_more(&mut self) -> bool {
        self.awaits_consumption = false;
        if self.holds_enough_room() {
            return true;
        }
        let Some(driver) = self.driver.clone() else {
            // It was woken since its turn began, and asks again.
            return false;
        };
        if let Some(cell) = &self.consumed {
            cell.wake_when_consumed(&driver);
        }
        self.kept.await_room(driver);
        // What happened before the driver was listed has not woken it.
        self.awaits_consumption = !self.holds_enough_room();
        !self.awaits_consumption
    }

    fn holds_enough_room(&mut self) -> bool {
        if !self.log.holds_unconsumed() {
            return true;
        }
        self.consume();
        self.count();
        self.log.unconsumed_encoded() + self.log.waiting_bytes() < UNCONSUMED_MIN_BYTES
            || self.log.unconsumed_encoded() < KEPT_ENCODED_BYTES
                && self.log.unconsumed_bytes() < KEPT_PROCESS_BYTES
                && self.kept.may_hold_more()
    }
}
