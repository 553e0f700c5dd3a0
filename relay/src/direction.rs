//! The two directions of a session.

/// Which way frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client's `Dial` to the exec-server's `Accept`.
    ToExecServer = 0,
    /// Back.
    ToClient = 1,
}
