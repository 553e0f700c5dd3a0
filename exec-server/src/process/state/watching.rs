//! Calls that watch a process, beside the one that is attached.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use baton_proto::exec::{Attached, Gap, ProcessEvent};

use super::{Inner, ProcessState, StdinPosition};
use crate::error::AttachError;
use crate::limits::WATCHERS_MAX;
use crate::log::Next;

/// What a watcher gets.
#[derive(Debug)]
pub(in crate::process) enum Watched {
    Event(ProcessEvent),
    Gap(Gap),
    /// There was the last event.
    End,
    /// The process is killed, and its log is gone.
    Abandoned,
}

impl ProcessState {
    /// A watcher begins that has everything up to `seq`, and wants nothing from before `since`. Returns the `seq` that
    /// it begins after. [`end_watch`](Self::end_watch) follows.
    pub(in crate::process) fn begin_watch(
        &self,
        seq: u64,
        since: Option<Instant>,
    ) -> Result<u64, AttachError> {
        let mut inner = self.lock();
        inner.check_reader(seq)?;
        if inner.watching >= WATCHERS_MAX {
            return Err(AttachError::TooManyWatchers);
        }
        inner.watching += 1;
        Ok(seq.max(since.map_or(0, |since| inner.log.seq_before(since))))
    }

    pub(in crate::process) fn end_watch(&self) {
        let mut inner = self.lock();
        inner.watching = inner.watching.saturating_sub(1);
    }

    /// The first event of a watcher.
    pub(in crate::process) fn watched(&self) -> Attached {
        let inner = self.lock();
        inner.attached_at(StdinPosition {
            offset: inner.stdin.taken,
            is_closed: true,
        })
    }

    /// What a watcher gets next that has everything up to `seen`.
    pub(in crate::process) fn poll_watched(&self, cx: &mut Context<'_>, seen: u64) -> Poll<Watched> {
        let mut inner = self.lock();
        if inner.is_abandoned() {
            return Poll::Ready(Watched::Abandoned);
        }
        match inner.log.next_after(seen) {
            Some(Next::Event(event)) => return Poll::Ready(Watched::Event(event)),
            Some(Next::Gap { first }) => return Poll::Ready(Watched::Gap(Gap { first_seq: first })),
            None if !inner.is_open() => return Poll::Ready(Watched::End),
            None => {}
        }
        if !inner.watchers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Inner {
    pub(super) fn wake_watchers(&mut self) {
        self.watchers.drain(..).for_each(Waker::wake);
    }
}
