//! A command's terminal: its size, and changes of it.

use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{self, RunRequest};
use tokio::sync::mpsc;

use crate::error::ProcessError;

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a row; 0 is unknown, as for all.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
    /// Width in pixels.
    pub width_pixels: u16,
    /// Height in pixels.
    pub height_pixels: u16,
}

impl WindowSize {
    pub(crate) fn to_wire(self) -> exec::WindowSize {
        exec::WindowSize {
            columns: self.columns.into(),
            rows: self.rows.into(),
            width_pixels: self.width_pixels.into(),
            height_pixels: self.height_pixels.into(),
        }
    }
}

/// Changes the size of one command's terminal. Cheap to clone; independent of the [`Run`](crate::Run) that it is from.
#[derive(Debug, Clone)]
pub struct Resizer(Option<mpsc::WeakSender<RunRequest>>);

impl Resizer {
    /// `None` for a command without a terminal.
    pub(crate) fn new(requests: Option<&mpsc::Sender<RunRequest>>) -> Self {
        Self(requests.map(mpsc::Sender::downgrade))
    }

    /// As [`Run::resize`](crate::Run::resize).
    ///
    /// # Errors
    /// As [`Run::resize`](crate::Run::resize).
    pub async fn resize(&self, size: WindowSize) -> Result<(), ProcessError> {
        let requests = self.0.as_ref().ok_or(ProcessError::NotSupported)?;
        let requests = requests.upgrade().ok_or(ProcessError::Ended)?;
        let request = RunRequest {
            kind: Some(Kind::Resize(size.to_wire())),
        };
        requests.send(request).await.map_err(|_| ProcessError::Ended)
    }
}
