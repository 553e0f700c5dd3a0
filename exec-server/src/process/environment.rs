//! The child's environment: the server's (or none), what `Start` adds, and the trace context last.
//!
//! The context is that of the `process` stage, so that spans of the child hang under its process span. It overrides
//! whatever `Start` says, and no filter removes it; variables of another trace, inherited from the server's own
//! environment, never reach the child.

use std::process::Command;

use baton_trace::w3c::{BAGGAGE_VARIABLE, TRACEPARENT_VARIABLE, TRACESTATE_VARIABLE, TraceContext};

use super::launch::Launch;

/// Sets a command's environment.
pub(super) fn apply(command: &mut Command, launch: &Launch, context: Option<&TraceContext>) {
    if launch.clear_environment {
        command.env_clear();
    }
    for name in [TRACEPARENT_VARIABLE, TRACESTATE_VARIABLE, BAGGAGE_VARIABLE] {
        command.env_remove(name);
    }
    for (name, value) in &launch.environment {
        command.env(name, value);
    }
    let Some(context) = context else { return };
    for (name, value) in context.to_environment() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}
