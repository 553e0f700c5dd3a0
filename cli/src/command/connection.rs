//! Whether a command's connection is lost, and the line that tells so.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_core_client::{OnRecovery, OnWaiting, Recovery};

use crate::raw_terminal::line_start;
use crate::remote::tell_waiting;
use crate::terminal::is_colored;

/// The connection of one command with a grace.
#[derive(Debug, Default)]
pub(super) struct Connection {
    lost: Mutex<Option<Instant>>,
}

impl Connection {
    /// Tells the person who watches the command of a loss, and remembers it while it lasts.
    pub(super) fn notices(self: &Arc<Self>) -> OnRecovery {
        let connection = Arc::clone(self);
        Arc::new(move |recovery| {
            let lost = matches!(recovery, Recovery::Lost { .. }).then(Instant::now);
            *connection.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
            if lost.is_some() {
                let (dim, plain) = match is_colored(&io::stderr()) {
                    true => ("\x1b[2m", "\x1b[0m"),
                    false => ("", ""),
                };
                stderr_line!(
                    "{}{dim}baton: the connection is lost; the command goes on, reconnecting{plain}",
                    line_start()
                );
            }
        })
    }

    /// Tells that connecting takes long. A loss has its own line: then this tells nothing, because what it knows of the
    /// time that is left is that of one attempt.
    pub(super) fn waiting(self: &Arc<Self>) -> OnWaiting {
        let connection = Arc::clone(self);
        Arc::new(move |error, left| {
            if connection.left(Duration::ZERO).is_none() {
                tell_waiting(error, left);
            }
        })
    }

    /// Whether it is lost, for another task.
    pub(super) fn loss(self: &Arc<Self>) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let connection = Arc::clone(self);
        Arc::new(move || connection.left(Duration::ZERO).is_some())
    }

    /// While the connection is lost: how much of the grace is left.
    pub(super) fn left(&self, grace: Duration) -> Option<Duration> {
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.map(|since| grace.saturating_sub(since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use baton_core_client::RunError;

    use super::*;

    #[test]
    fn the_grace_that_is_left_is_known_while_the_connection_is_lost() {
        const GRACE: Duration = Duration::from_secs(60);
        let connection = Arc::<Connection>::default();
        let notices = connection.notices();
        assert_eq!(connection.left(GRACE), None);
        notices(&Recovery::Lost {
            error: &RunError::Protocol("a test"),
            tries_for: GRACE,
        });
        assert!(connection.left(GRACE).is_some_and(|left| left <= GRACE));
        assert_eq!(connection.left(Duration::ZERO), Some(Duration::ZERO));
        notices(&Recovery::Attached { after: GRACE });
        assert_eq!(connection.left(GRACE), None);
    }
}
