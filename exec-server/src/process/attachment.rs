//! A call of a process. The process table owns the process; a call is attached to it, and reads its log.
//!
//! A call never kills: when it is cut short, it tells the process's state, which decides what becomes of the process.

use std::sync::Arc;

use baton_trace::call_end::{CallEnd, CallEndCell};

use super::state::{Lease, ProcessState};

/// One call's attachment to a process. Dropping it means that the call has ended. Before the end of the process's
/// events the call was cut short.
#[derive(Debug)]
pub(super) struct Attachment {
    state: Arc<ProcessState>,
    lease: Lease,
    /// The reason why the call was cut short, if the transport sets it.
    end: Option<CallEndCell>,
}

impl Attachment {
    pub(super) fn new(state: Arc<ProcessState>, lease: Lease, end: Option<CallEndCell>) -> Self {
        Self { state, lease, end }
    }

    /// The call ends before the process, which runs on.
    pub(super) fn release(&self) {
        self.state.release(self.lease);
    }

    /// The process that the call is attached to.
    pub(super) fn state(&self) -> &ProcessState {
        &self.state
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let end = self.end.as_ref().and_then(CallEndCell::get);
        self.state.detach(self.lease, end.unwrap_or(CallEnd::Reset));
    }
}
