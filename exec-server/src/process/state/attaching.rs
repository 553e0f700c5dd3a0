//! The call that is attached to a process: its lease, and where the input of the process continues.

use baton_export::clock;
use baton_proto::exec::{Attached, Repeated, RunRequest};
use baton_trace::call::ToldStages;
use baton_trace::call_end::{CallEnd, CallEndCell};
use tonic::Streaming;

use super::{Inner, ProcessState, wake};
use crate::error::AttachError;
use crate::limits::STDIN_TOLD_BYTES;

/// Distinguishes the calls that were attached to one process: a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::process) struct Lease(u64);

/// What the driver takes over from a call that attaches.
#[derive(Debug)]
pub(in crate::process) struct Attaching {
    pub(in crate::process) lease: Lease,
    pub(in crate::process) requests: Streaming<RunRequest>,
    /// Why the call was cut short, once it was, if the transport sets it.
    pub(in crate::process) end: Option<CallEndCell>,
}

/// Where the standard input of a process continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) struct StdinPosition {
    /// The bytes that were written.
    pub(in crate::process) offset: u64,
    pub(in crate::process) is_closed: bool,
}

/// The input that the process has taken.
#[derive(Debug, Default)]
pub(super) struct StdinProgress {
    pub(super) taken: u64,
    /// What the client was told.
    pub(super) told: u64,
}

impl ProcessState {
    /// The answer to a start that repeats that of this process.
    pub(in crate::process) fn as_repeated(&self) -> Repeated {
        let inner = self.lock();
        let attachable = !inner.grace.limit().is_zero() && !inner.is_abandoned();
        Repeated {
            attachable,
            attached: attachable && inner.is_open() && inner.grace.ends().is_none(),
        }
    }

    /// Attaches a call that has everything up to `seq`, in the place of the one before. Its requests go to the driver.
    pub(in crate::process) fn attach(
        &self,
        seq: u64,
        requests: Streaming<RunRequest>,
        end: Option<CallEndCell>,
    ) -> Result<Lease, AttachError> {
        let mut inner = self.lock();
        inner.check_reader(seq)?;
        inner.lease = Lease(inner.lease.0 + 1);
        let lease = inner.lease;
        inner.begin_call(seq, end.clone());
        inner.grace.stop();
        inner.stdin.told = inner.stdin.taken;
        inner.attached = None;
        inner.attaching = Some(Attaching { lease, requests, end });
        if !inner.is_open() {
            inner.attach_to_the_end();
        }
        wake(inner.driver.take());
        // The call before learns that its lease has ended.
        wake(inner.follower.take());
        Ok(lease)
    }

    /// The requests of a call that has attached since, for the driver.
    pub(in crate::process) fn take_attaching(&self) -> Option<Attaching> {
        self.lock().attaching.take()
    }

    /// The driver reads the requests of the call with this lease. The process takes input from here on.
    pub(in crate::process) fn attached(&self, lease: Lease, stdin: StdinPosition) {
        let mut inner = self.lock();
        if inner.lease == lease {
            inner.attached = Some(inner.attached_at(stdin));
            wake(inner.follower.take());
        }
    }

    /// The process, which has a grace, has taken this many bytes of input.
    pub(in crate::process) fn stdin_taken(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.stdin.taken = bytes;
        if inner.stdin.is_worth_telling() {
            wake(inner.follower.take());
        }
    }

    /// Sets the stages that a call which attaches tells its caller, if one may.
    pub(in crate::process) fn set_told(&self, told: impl FnOnce() -> ToldStages) {
        let mut inner = self.lock();
        if !inner.grace.limit().is_zero() {
            inner.told = Some(told());
        }
    }

    /// The stages of the process, once they are known.
    pub(in crate::process) fn told(&self) -> Option<ToldStages> {
        self.lock().told.clone()
    }

    /// The call with this lease ends, and the process runs on as after a lost session.
    pub(in crate::process) fn release(&self, lease: Lease) {
        let mut inner = self.lock();
        if inner.lease != lease {
            return;
        }
        if inner.is_open() {
            inner.grace.begin(CallEnd::ClientLost, clock::now());
        }
        // What else the transport says of the call has no effect.
        inner.lease = Lease(lease.0 + 1);
        inner.hand_over_unread();
        wake(inner.driver.take());
    }

    /// The call with this lease was cut short. Begins the grace, or kills the process if it has none for this reason,
    /// unless the process is over or another call has attached.
    pub(in crate::process) fn detach(&self, lease: Lease, why: CallEnd) {
        let mut inner = self.lock();
        if !inner.is_open() || inner.lease != lease {
            return;
        }
        inner.follower = None;
        match inner.grace.begin(why, clock::now()) {
            Some(why) => inner.abandon(why),
            None => inner.hand_over_unread(),
        }
        wake(inner.driver.take());
    }
}

impl Inner {
    /// Whether a call that has everything up to `seq` may read the log.
    pub(super) fn check_reader(&self, seq: u64) -> Result<(), AttachError> {
        if self.starting.is_none() && self.log.last() == 0 {
            // It is not spawned yet, and will not be if its call is cut short.
            return Err(AttachError::Unknown);
        }
        if self.grace.limit().is_zero() {
            return Err(AttachError::NoGrace);
        }
        if self.is_abandoned() {
            return Err(AttachError::Killed);
        }
        let last = self.log.last();
        match seq > last {
            true => Err(AttachError::NotYet { last, received: seq }),
            false => Ok(()),
        }
    }

    /// The process is over, and its driver takes no requests any more.
    pub(super) fn attach_to_the_end(&mut self) {
        if self.attaching.take().is_some() {
            self.attached = Some(self.attached_at(StdinPosition {
                offset: self.stdin.taken,
                is_closed: true,
            }));
        }
    }

    pub(super) fn attached_at(&self, stdin: StdinPosition) -> Attached {
        Attached {
            stdin_offset: stdin.offset,
            stdin_closed: stdin.is_closed,
            grace_ms: self.grace_ms(),
            last_seq: self.log.last(),
            terminal: self.has_terminal,
        }
    }
}

impl StdinProgress {
    pub(super) fn is_worth_telling(&self) -> bool {
        self.taken - self.told >= STDIN_TOLD_BYTES
    }
}
