//! How a user leaves a command by an escape of its terminal.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use baton_core_client::{ProcessId, Run, Signal, Signaller};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Connection;
use crate::error::CliError;
use crate::escapes::Escape;
use crate::keyboard::{self, EscapeRequest};
use crate::limits::HANG_UP_TIMEOUT;
use crate::raw_terminal::{line_end, line_start};

/// The user leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// And the command ends.
    Leave,
    /// And this process runs on.
    Detach(ProcessId),
    /// By Ctrl-C while the connection is lost.
    Interrupt,
    /// The terminal is gone, and nobody has asked for the end of this process, which runs on.
    HangUp(ProcessId),
}

/// Answers escapes until one means that the user leaves. `process` is the one that can be attached to again.
pub(super) async fn asked(
    requests: &mut mpsc::Receiver<EscapeRequest>,
    process: Option<ProcessId>,
    granted: &Cell<Duration>,
) -> Departure {
    while let Some(request) = requests.recv().await {
        match request.escape {
            Escape::Leave => return Departure::Leave,
            Escape::Interrupt => return Departure::Interrupt,
            Escape::Detach => match process.filter(|_| !granted.get().is_zero()) {
                Some(process) => return Departure::Detach(process),
                None => stderr_line!(
                    "{}baton: this command has no grace and would end: begin it without --grace 0s to detach from it, or ask the owner of the exec-server for a larger --max-grace",
                    line_start()
                ),
            },
            Escape::HangUp => {
                if let Some(process) = process.filter(|_| !granted.get().is_zero()) {
                    return Departure::HangUp(process);
                }
            }
            Escape::Help => help(),
        }
        request.stay();
    }
    // Without a keyboard.
    pending().await
}

fn help() {
    let lines = [
        "escapes, at the beginning of a line:",
        "  ~.  end the command and leave",
        "  ~d  detach: the command runs on for its grace",
        "  ~~  a `~` for the command",
        "  ~?  this list",
    ];
    stderr_line!("{}{}", line_start(), lines.join(line_end()));
}

/// Says how to come back.
pub(super) fn tell_of_detached(process: ProcessId, grace: Duration) {
    stderr_line!(
        "{}baton: detached from {process}, which runs on for {} without a client: `baton attach -t {process}`",
        line_start(),
        humantime::format_duration(grace)
    );
}

/// Whether an error of this process's output means that its terminal is gone.
pub(super) fn is_hang_up(error: &CliError) -> bool {
    matches!(error, CliError::Stdio { source, .. } if keyboard::is_hang_up(source))
}

/// Says that a command runs on, if its connection is lost.
pub(super) fn tell_of_lost(connection: &Connection, run: &Run) {
    if let (Some(left), Some(process)) = (connection.left(run.grace()), run.process_id()) {
        stderr_line!(
            "{}baton: the connection is lost, and the command runs on for {} s: `baton attach {process}`",
            line_start(),
            left.as_secs()
        );
    }
}

/// Ends the command as a terminal that hangs up does, if it can be reached. Dropping the run then kills what is left.
pub(super) async fn leave(
    departure: Departure,
    connection: &Connection,
    run: &Run,
    signaller: &Signaller,
) -> CliError {
    if connection.left(run.grace()).is_some() {
        tell_of_lost(connection, run);
    } else {
        // If it fails, dropping the run ends the command.
        let _ = timeout(HANG_UP_TIMEOUT, signaller.terminate(Signal::Hup)).await;
    }
    match departure {
        Departure::Interrupt => CliError::Interrupted {
            signal: SignalKind::interrupt().as_raw_value(),
        },
        Departure::Leave | Departure::Detach(_) | Departure::HangUp(_) => CliError::Left,
    }
}
