//! Writes the table of outcomes and faults of `docs/METADATA.md`.

use std::fmt::Write as _;

use super::{CommandExit, Fault, Loss, Outcome, StartFailure};
use crate::call_end::CallEnd;

/// The table in Markdown: one row per outcome and reason.
pub fn markdown() -> String {
    let mut out = String::from("| outcome | reason | fault | means |\n|---|---|---|---|\n");
    let exit = Some(CommandExit::Code(0));
    let mut row = |outcome: Outcome, reason: &str, means: &str| {
        let reason = match reason {
            "" => "–".to_owned(),
            word => format!("`{word}`"),
        };
        let fault = match outcome.fault() {
            None => "–".to_owned(),
            Some(fault) => format!("`{fault}`"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {reason} | {fault} | {means} |", outcome.as_str());
    };
    let said = |outcome: Outcome| outcome.to_string();
    let success = Outcome::Exited { code: 0 };
    row(success, "", &said(success));
    row(Outcome::Exited { code: 1 }, "", "any other exit code");
    let crashed = Outcome::Signaled {
        signal: 11,
        core_dumped: true,
    };
    row(crashed, "", &said(crashed));
    let out_of_memory = Outcome::OutOfMemory { exit };
    row(out_of_memory, "", &said(out_of_memory));
    let timed_out = Outcome::TimedOut { exit };
    row(timed_out, CallEnd::Deadline.name(), &said(timed_out));
    for by in CallEnd::ALL {
        // It is `timed_out`.
        if by != CallEnd::Deadline {
            let killed = Outcome::Killed { by: Some(by), exit };
            row(killed, by.name(), &said(killed));
        }
    }
    let killed = Outcome::Killed { by: None, exit };
    row(killed, Fault::Unknown.as_str(), &said(killed));
    for failure in StartFailure::ALL {
        let failed = Outcome::FailedToStart(failure);
        row(failed, failure.as_str(), &said(failed));
    }
    for loss in [Loss::Server, Loss::Connection, Loss::Superseded] {
        row(Outcome::Lost(loss), "", &said(Outcome::Lost(loss)));
    }
    row(Outcome::Unknown, "", &said(Outcome::Unknown));
    out
}
