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
    row(Outcome::Exited { code: 0 }, "", "exit code 0");
    row(Outcome::Exited { code: 1 }, "", "any other exit code");
    let crashed = Outcome::Signaled {
        signal: 11,
        core_dumped: true,
    };
    row(
        crashed,
        "",
        "a signal ended it that neither the exec-server nor the caller sent",
    );
    row(
        Outcome::OutOfMemory { exit },
        "",
        "the memory limit of its cgroup was reached, as the cgroup reports",
    );
    row(
        Outcome::TimedOut { exit },
        CallEnd::Deadline.name(),
        "its timeout expired",
    );
    for by in CallEnd::ALL {
        // It is `timed_out`.
        if by != CallEnd::Deadline {
            row(Outcome::Killed { by: Some(by), exit }, by.name(), &by.to_string());
        }
    }
    row(
        Outcome::Killed { by: None, exit },
        Fault::Unknown.as_str(),
        "killed, in a record that does not say why",
    );
    for failure in StartFailure::ALL {
        row(
            Outcome::FailedToStart(failure),
            failure.as_str(),
            &failure.to_string(),
        );
    }
    for (loss, means) in [
        (
            Loss::Server,
            "the exec-server ended first, or did not learn how it ended",
        ),
        (
            Loss::Connection,
            "only a client reports it: the connection was lost, and the record has the outcome",
        ),
        (
            Loss::Superseded,
            "only a client reports it: another call has attached to the command, which goes on",
        ),
    ] {
        row(Outcome::Lost(loss), "", means);
    }
    row(Outcome::Unknown, "", "only a newer version knows it");
    out
}
