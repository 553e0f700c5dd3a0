//! Reports of markers that a program's output cannot show.

use baton_proto::exec::marker_reached::Marker;
use baton_proto::exec::{MarkerReached, RunRequest, run_request::Kind};
use tokio::sync::mpsc;

/// Why a marker was not reported. The command is not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// The command has no family.
    #[error("the command has no family; set one with Command::family")]
    NoFamily,
    /// An exec-server without the feature would kill the command.
    #[error("the exec-server does not know markers; update it")]
    NotSupported,
    /// The command or the call has ended, or its standard input was closed.
    #[error("the command has ended")]
    Ended,
}

/// Whether the markers of a command can be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerSupport {
    NoFamily,
    NotSupported,
    Sent,
}

impl MarkerSupport {
    /// Queues the report of session init.
    pub(crate) async fn report(self, requests: Option<&mpsc::Sender<RunRequest>>) -> Result<(), MarkerError> {
        match self {
            Self::NoFamily => return Err(MarkerError::NoFamily),
            Self::NotSupported => return Err(MarkerError::NotSupported),
            Self::Sent => {}
        }
        let report = RunRequest {
            kind: Some(Kind::Marker(MarkerReached {
                marker: Marker::SessionInit.into(),
            })),
        };
        let requests = requests.ok_or(MarkerError::Ended)?;
        requests.send(report).await.map_err(|_| MarkerError::Ended)
    }
}
