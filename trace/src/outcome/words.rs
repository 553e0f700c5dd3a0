//! An outcome for a person: a phrase that says what happened, and the words that JSON, records and spans have.

use std::fmt;

use super::{Fault, Loss, Outcome, StartFailure};
use crate::call_end::CallEnd;

impl Outcome {
    /// The words of this outcome as a message has them, like `killed TERM, revoked, fault caller`: the outcome with the
    /// exit status, the reason, and whose fault it is. `timed_out` has no other reason than its name.
    pub fn words(&self) -> String {
        let exit = self.exit().map(|exit| format!(" {exit}")).unwrap_or_default();
        let killed_for = match self {
            Self::Killed { by, .. } => *by,
            _ => None,
        };
        let reason = killed_for.map(CallEnd::name);
        let reason = reason.or(self.start_failure().map(StartFailure::as_str));
        let rest = [
            self.core_dumped().then(|| "core".to_owned()),
            reason.map(str::to_owned),
            self.fault().map(|fault: Fault| format!("fault {fault}")),
        ];
        let rest: String = rest
            .into_iter()
            .flatten()
            .map(|word| format!(", {word}"))
            .collect();
        format!("{}{exit}{rest}", self.as_str())
    }
}

/// A phrase for a person.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exited { code } => return write!(f, "exit code {code}"),
            Self::Killed { by: Some(by), .. } => return by.fmt(f),
            Self::FailedToStart(failure) => return failure.fmt(f),
            Self::Signaled { .. } => "a signal ended it that neither the exec-server nor the caller sent",
            Self::TimedOut { .. } => "its timeout expired",
            Self::OutOfMemory { .. } => "the memory limit of its cgroup was reached, as the cgroup reports",
            Self::Killed { by: None, .. } => "killed, in a record that does not say why",
            Self::Lost(Loss::Server) => "the exec-server ended first, or did not learn how it ended",
            Self::Lost(Loss::Connection) => {
                "only a client reports it: the connection was lost, and the record has the outcome"
            }
            Self::Lost(Loss::Superseded) => {
                "only a client reports it: another call has attached to the command, which goes on"
            }
            Self::Unknown => "only a newer version knows it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::CommandExit;
    use super::*;

    #[test]
    fn the_words_are_those_of_records_and_spans() {
        let exit = Some(CommandExit::Signal(15));
        let (code, core_dumped) = (3, true);
        for (outcome, words) in [
            (Outcome::Exited { code: 0 }, "exited 0"),
            (Outcome::Exited { code }, "exited 3, fault command"),
            (
                Outcome::Signaled {
                    signal: 11,
                    core_dumped,
                },
                "signaled SEGV, core, fault command",
            ),
            (Outcome::TimedOut { exit: None }, "timed_out, fault limit"),
            (Outcome::TimedOut { exit }, "timed_out TERM, fault limit"),
            (Outcome::OutOfMemory { exit }, "out_of_memory TERM, fault limit"),
            (
                Outcome::Killed {
                    by: Some(CallEnd::Revoked),
                    exit,
                },
                "killed TERM, revoked, fault caller",
            ),
            (Outcome::Killed { by: None, exit }, "killed TERM, fault unknown"),
            (
                Outcome::FailedToStart(StartFailure::BadCwd),
                "failed_to_start, bad_cwd, fault caller",
            ),
            (Outcome::Lost(Loss::Connection), "lost, fault network"),
            (Outcome::Unknown, "unknown, fault unknown"),
        ] {
            assert_eq!(outcome.words(), words);
        }
    }
}
