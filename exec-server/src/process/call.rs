//! What the transport says of a call.

use std::sync::Arc;

use baton_trace::call::ServerCall;
use baton_trace::call_end::{CallDeadline, CallEndCell};
use tonic::Extensions;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct CallContext {
    pub(crate) call: Option<Arc<ServerCall>>,
    /// Set when the call is cut short, if the transport sets it.
    pub(crate) end: Option<CallEndCell>,
    pub(crate) deadline: Option<CallDeadline>,
}

impl CallContext {
    /// What the extensions of a request hold.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self {
            call: extensions.get().cloned(),
            end: extensions.get().cloned(),
            deadline: extensions.get().copied(),
        }
    }
}
