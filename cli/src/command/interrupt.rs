//! What a stop signal of this process means for its command.
//!
//! Ctrl-C and SIGTERM are passed on to the command's process group, which then has the kill grace to end. A further stop
//! signal, any other one, and an exec-server that takes no signals end the wait: the caller drops the run, and the
//! exec-server kills the command.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use baton_core_client::{ProcessError, Signal, Signaller};
use tokio::signal::unix::SignalKind;
use tokio::time::sleep;

use crate::limits::KILL_MARGIN;
use crate::signals::StopSignals;

/// The first stop signal during a command.
#[derive(Debug, Default)]
pub(super) struct Interruption(Cell<Option<i32>>);

impl Interruption {
    /// Its number, once it has arrived.
    pub(super) fn signal(&self) -> Option<i32> {
        self.0.get()
    }

    /// Passes the first stop signal on. Returns its number when the command has to be dropped.
    pub(super) async fn pass_on(
        &self,
        stop: &mut StopSignals,
        command: &Signaller,
        kill_grace: Duration,
        is_lost: impl Fn() -> bool,
    ) -> i32 {
        let number = stop.next().await;
        self.0.set(Some(number));
        let signal = match passed_on(number) {
            // No signal reaches the command.
            Some(signal) if !is_lost() => signal,
            Some(_) | None => return number,
        };
        let sending = async {
            match command.terminate(signal).await {
                // Its end is on its way.
                Ok(()) | Err(ProcessError::Ended) => pending().await,
                Err(_) => {}
            }
        };
        tokio::select! {
            () = sending => {}
            () = sleep(kill_grace + KILL_MARGIN) => {}
            _ = stop.next() => {}
        }
        number
    }
}

/// The signal that the command gets for one of this process; `None` if it is dropped.
fn passed_on(number: i32) -> Option<Signal> {
    match SignalKind::from_raw(number) {
        kind if kind == SignalKind::interrupt() => Some(Signal::Int),
        kind if kind == SignalKind::terminate() => Some(Signal::Term),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_and_sigterm_are_passed_on_and_no_other_stop_signal() {
        for (kind, expected) in [
            (SignalKind::interrupt(), Some(Signal::Int)),
            (SignalKind::terminate(), Some(Signal::Term)),
            (SignalKind::hangup(), None),
            (SignalKind::quit(), None),
        ] {
            assert_eq!(passed_on(kind.as_raw_value()), expected);
        }
    }
}
