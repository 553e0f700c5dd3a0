//! The response stream of the call that is attached: which event it gets next.

use std::task::{Context, Poll};

use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Gap, ProcessEvent, StdinTaken};
use tonic::Status;

use super::{Inner, Lease, ProcessState, register, wake};
use crate::error::AttachError;
use crate::log::Next;

/// What a response stream has received.
#[derive(Debug, Clone, Copy)]
pub(in crate::process) struct Cursor {
    pub(in crate::process) lease: Lease,
    /// The `seq` of the last event.
    pub(in crate::process) seen: u64,
    /// It has got its `Attached`, or gets none.
    pub(in crate::process) is_attached: bool,
    pub(in crate::process) tells_stdin: bool,
}

impl ProcessState {
    /// Hands the next event to the transport, and wakes the driver if there is room now. `None` after the last one.
    pub(in crate::process) fn poll_event(
        &self,
        cx: &mut Context<'_>,
        cursor: &mut Cursor,
    ) -> Poll<Option<Result<ProcessEvent, Status>>> {
        let mut inner = self.lock();
        if cursor.lease != inner.lease {
            return Poll::Ready(Some(Err(AttachError::Superseded.into())));
        }
        if let Some(failure) = inner.take_failure() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(event) = inner.about_call(cursor) {
            inner.log.tell(&event);
            return Poll::Ready(Some(Ok(event)));
        }
        if cursor.is_attached {
            match inner.log.next_after(cursor.seen) {
                Some(Next::Event(event)) => {
                    cursor.seen = event.seq;
                    if inner.hand_over(event.seq) || inner.awaits_consumption {
                        wake(inner.driver.take());
                    }
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(Next::Gap { first }) if !inner.is_abandoned() => {
                    cursor.seen = first - 1;
                    let gap = unnumbered(Kind::Gap(Gap { first_seq: first }));
                    inner.log.tell(&gap);
                    return Poll::Ready(Some(Ok(gap)));
                }
                Some(Next::Gap { .. }) | None => {}
            }
            if !inner.is_open() {
                return Poll::Ready(None);
            }
        } else if inner.is_abandoned() {
            return Poll::Ready(Some(Err(AttachError::Killed.into())));
        }
        register(&mut inner.follower, cx);
        Poll::Pending
    }

    /// Ready when there is an event after `Started`, or the response has ended, or another call has attached. The
    /// response stream must not wait at the same time, because both register the same waker.
    pub(in crate::process) fn poll_more_than_started(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.log.last() > 1 || !inner.is_open() || inner.lease != Lease::default() {
            return Poll::Ready(());
        }
        register(&mut inner.follower, cx);
        Poll::Pending
    }
}

impl Inner {
    /// The next event that is not of the process, if it is due.
    fn about_call(&mut self, cursor: &mut Cursor) -> Option<ProcessEvent> {
        if !cursor.is_attached {
            let attached = self.attached?;
            cursor.is_attached = true;
            return Some(unnumbered(Kind::Attached(attached)));
        }
        if !cursor.tells_stdin || !self.stdin.is_worth_telling() {
            return None;
        }
        self.stdin.told = self.stdin.taken;
        let offset = self.stdin.taken;
        Some(unnumbered(Kind::StdinTaken(StdinTaken { offset })))
    }
}

/// An event about the call.
pub(in crate::process) fn unnumbered(kind: Kind) -> ProcessEvent {
    ProcessEvent {
        seq: 0,
        kind: Some(kind),
    }
}
