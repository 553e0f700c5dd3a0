//! The two directions of a session.

/// A direction in which frames are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client's `Dial` to the exec-server's `Accept`.
    ToExecServer = 0,
    /// From the exec-server's `Accept` to the client's `Dial`.
    ToClient = 1,
}
