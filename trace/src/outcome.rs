//! How a command ended, and whose fault it is if it failed.
//!
//! ```text
//! exec-server ── exit status, CallEnd ──► Outcome ──► record: `baton history`, `baton show`
//!                                            ├──────► span `process`: baton.outcome, baton.fault
//! client ─── events, or the call's error ──► Outcome ──► span `call`, messages, JSON
//! ```
//!
//! [`Outcome`] is the only type for this. [`Outcome::words`] is how messages name it. Its words ([`Outcome::as_str`],
//! [`Fault::as_str`], [`StartFailure::as_str`], [`CallEnd::name`]) are the same in messages, JSON, records and spans.
//! [`markdown`](markdown()) writes the table of outcomes and faults in `docs/METADATA.md`, and a test compares them.
//!
//! A value that only a newer version knows is read as `unknown`.

mod exit;
mod fault;
mod markdown;
mod start_failure;
mod words;

use baton_proto::exec::exec_error::Kind;

use crate::call_end::CallEnd;

pub use exit::{CommandExit, signal_name};
pub use fault::Fault;
pub use markdown::markdown;
pub use start_failure::StartFailure;

/// How a command ended. Each variant has what is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The process exited with an exit code.
    Exited {
        /// The code, 0 to 255.
        code: i32,
    },
    /// A signal ended the process. Neither the exec-server nor its caller sent it.
    Signaled {
        /// The signal's number on the machine where it ran.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// The deadline passed. The exec-server killed the process, if it had started.
    TimedOut {
        /// The signal that ended the process, or its exit code if it handled the signal.
        exit: Option<CommandExit>,
    },
    /// The kernel killed the process because the memory limit of its cgroup was reached.
    OutOfMemory {
        /// The exit status.
        exit: Option<CommandExit>,
    },
    /// The exec-server killed the process.
    Killed {
        /// Why. `None` if it is not known: in records of schemas before 4.
        by: Option<CallEnd>,
        /// The signal that ended the process, or its exit code if it handled the signal.
        exit: Option<CommandExit>,
    },
    /// No process was started.
    FailedToStart(StartFailure),
    /// The process was started, or may have been, and its end was not observed.
    Lost(Loss),
    /// An outcome that only a newer version knows.
    Unknown,
}

/// The name of an [`Outcome`], without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// [`Outcome::Exited`].
    Exited,
    /// [`Outcome::Signaled`].
    Signaled,
    /// [`Outcome::TimedOut`].
    TimedOut,
    /// [`Outcome::OutOfMemory`].
    OutOfMemory,
    /// [`Outcome::Killed`].
    Killed,
    /// [`Outcome::FailedToStart`].
    FailedToStart,
    /// [`Outcome::Lost`].
    Lost,
    /// [`Outcome::Unknown`].
    Unknown,
}

/// Why the end of a process was not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The client lost its connection to the exec-server.
    Connection,
    /// The exec-server ended first, or the operating system did not report the exit status to it.
    Server,
    /// Another call of the same key has attached to the process in the place of this one. The process goes on.
    Superseded,
}

impl OutcomeKind {
    /// Every kind that a record can have.
    pub const ALL: [Self; 7] = [
        Self::Exited,
        Self::Signaled,
        Self::TimedOut,
        Self::OutOfMemory,
        Self::Killed,
        Self::FailedToStart,
        Self::Lost,
    ];

    /// The word in messages, JSON, records and spans (`baton.outcome`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::Killed => "killed",
            Self::FailedToStart => "failed_to_start",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }

    /// The kind behind a word; `None` for another one, and for `unknown`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Outcome {
    /// A process whose exit status is known. `out_of_memory` is whether the cgroup of the command reports that the
    /// kernel killed a process of it for want of memory. `killed_for` is why the exec-server was killing the command,
    /// if it was: a process that handles the signal and exits with a code counts as killed too.
    ///
    /// A command that exits with 0 although one of its processes ran out of memory has succeeded.
    pub const fn of_exit(
        exit: CommandExit,
        core_dumped: bool,
        out_of_memory: bool,
        killed_for: Option<CallEnd>,
    ) -> Self {
        match (killed_for, exit) {
            (Some(CallEnd::Deadline), exit) => Self::TimedOut { exit: Some(exit) },
            (Some(by), exit) => Self::Killed {
                by: Some(by),
                exit: Some(exit),
            },
            (None, CommandExit::Code(0)) => Self::Exited { code: 0 },
            (None, exit) if out_of_memory => Self::OutOfMemory { exit: Some(exit) },
            (None, CommandExit::Code(code)) => Self::Exited { code },
            (None, CommandExit::Signal(signal)) => Self::Signaled { signal, core_dumped },
        }
    }

    /// A process that was killed for this reason, and whose exit status is not known.
    pub const fn killed(by: CallEnd) -> Self {
        match by {
            CallEnd::Deadline => Self::TimedOut { exit: None },
            _ => Self::Killed {
                by: Some(by),
                exit: None,
            },
        }
    }

    /// The command of a client whose session the exec-server has closed for this reason. `is_started`: its process was
    /// reported as started.
    pub const fn of_closed_session(by: CallEnd, is_started: bool) -> Self {
        match by {
            _ if is_started => Self::killed(by),
            CallEnd::Revoked => Self::FailedToStart(StartFailure::NotAllowed),
            _ => Self::Lost(Loss::Server),
        }
    }

    /// The outcome that an error of the exec-server tells. `None`: the error does not say how the command ended.
    pub const fn of_error(kind: Kind, is_started: bool) -> Option<Self> {
        match kind {
            Kind::Lost => Some(Self::Lost(Loss::Server)),
            Kind::Superseded => Some(Self::Lost(Loss::Superseded)),
            // A client may send these before it knows of the start.
            Kind::InvalidStdin
            | Kind::InvalidAck
            | Kind::InvalidMarker
            | Kind::InvalidSignal
            | Kind::InvalidResize => Some(Self::killed(CallEnd::Violation)),
            Kind::InvalidStart if is_started => Some(Self::killed(CallEnd::Violation)),
            // Of a call that attaches.
            _ if is_started => None,
            kind => match StartFailure::from_wire(kind) {
                Some(failure) => Some(Self::FailedToStart(failure)),
                None => None,
            },
        }
    }

    /// The outcome without its values.
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Exited { .. } => OutcomeKind::Exited,
            Self::Signaled { .. } => OutcomeKind::Signaled,
            Self::TimedOut { .. } => OutcomeKind::TimedOut,
            Self::OutOfMemory { .. } => OutcomeKind::OutOfMemory,
            Self::Killed { .. } => OutcomeKind::Killed,
            Self::FailedToStart(_) => OutcomeKind::FailedToStart,
            Self::Lost(_) => OutcomeKind::Lost,
            Self::Unknown => OutcomeKind::Unknown,
        }
    }

    /// The word in messages, JSON, records and spans (`baton.outcome`).
    pub const fn as_str(&self) -> &'static str {
        self.kind().as_str()
    }

    /// The exit status, if it is known.
    pub const fn exit(&self) -> Option<CommandExit> {
        match *self {
            Self::Exited { code } => Some(CommandExit::Code(code)),
            Self::Signaled { signal, .. } => Some(CommandExit::Signal(signal)),
            Self::TimedOut { exit } | Self::OutOfMemory { exit } | Self::Killed { exit, .. } => exit,
            Self::FailedToStart(_) | Self::Lost(_) | Self::Unknown => None,
        }
    }

    /// Whether a core was dumped.
    pub const fn core_dumped(&self) -> bool {
        matches!(
            self,
            Self::Signaled {
                core_dumped: true,
                ..
            }
        )
    }

    /// Why the exec-server killed the process, if it did and that is known.
    pub const fn call_end(&self) -> Option<CallEnd> {
        match *self {
            Self::TimedOut { .. } => Some(CallEnd::Deadline),
            Self::Killed { by, .. } => by,
            _ => None,
        }
    }

    /// Why no process was started.
    pub const fn start_failure(&self) -> Option<StartFailure> {
        match *self {
            Self::FailedToStart(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether the process exited with 0.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }

    /// Whether the caller ended the command on purpose: it cancelled the call, closed its session, or sent a signal
    /// that ends. This is no failure.
    pub const fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Killed {
                by: Some(CallEnd::Reset),
                ..
            }
        )
    }

    /// Whether `history --failed` lists it: every outcome but an exit with 0 and a cancellation by the caller.
    pub const fn is_failure(&self) -> bool {
        !self.is_success() && !self.is_cancelled()
    }

    /// Whose fault it is that the command did not exit with 0; `None` if it did.
    pub const fn fault(&self) -> Option<Fault> {
        Some(match self {
            Self::Exited { code: 0 } => return None,
            Self::Exited { .. } | Self::Signaled { .. } => Fault::Command,
            Self::TimedOut { .. } | Self::OutOfMemory { .. } => Fault::Limit,
            Self::Killed { by: Some(by), .. } => Fault::of_call_end(*by),
            Self::FailedToStart(failure) => failure.fault(),
            Self::Lost(Loss::Connection) => Fault::Network,
            Self::Lost(Loss::Server) => Fault::Server,
            Self::Lost(Loss::Superseded) => Fault::Caller,
            Self::Killed { by: None, .. } | Self::Unknown => Fault::Unknown,
        })
    }

    /// The value of `error.type`, from a closed list. `None` for an exit with 0, and for a cancellation by the caller.
    pub const fn error_type(&self) -> Option<&'static str> {
        match self {
            _ if !self.is_failure() => None,
            Self::Exited { .. } => Some("nonzero_exit"),
            _ => Some(self.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Option<CommandExit> = Some(CommandExit::Code(0));

    /// One outcome of each kind, and the ones whose faults differ.
    fn samples() -> Vec<Outcome> {
        let mut samples = vec![
            Outcome::Exited { code: 0 },
            Outcome::Exited { code: 1 },
            Outcome::Signaled {
                signal: 11,
                core_dumped: true,
            },
            Outcome::TimedOut { exit: CODE },
            Outcome::OutOfMemory { exit: CODE },
            Outcome::Killed { by: None, exit: CODE },
            Outcome::Lost(Loss::Connection),
            Outcome::Lost(Loss::Server),
            Outcome::Lost(Loss::Superseded),
            Outcome::Unknown,
        ];
        samples.extend(CallEnd::ALL.map(|by| Outcome::Killed {
            by: Some(by),
            exit: CODE,
        }));
        samples.extend(StartFailure::ALL.map(Outcome::FailedToStart));
        samples
    }

    #[test]
    fn outcome_names_round_trip() {
        for kind in OutcomeKind::ALL {
            assert_eq!(OutcomeKind::from_name(kind.as_str()), Some(kind));
        }
        for other in ["fine", "unknown", ""] {
            assert_eq!(OutcomeKind::from_name(other), None);
        }
        for sample in samples() {
            let known = OutcomeKind::from_name(sample.as_str());
            assert_eq!(known.unwrap_or(OutcomeKind::Unknown), sample.kind());
        }
    }

    #[test]
    fn exactly_the_exit_with_0_is_nobodys_fault() {
        for sample in samples() {
            assert_eq!(sample.fault().is_none(), sample.is_success(), "{sample:?}");
        }
    }

    #[test]
    fn each_outcome_is_the_fault_of_who_has_to_act() {
        let killed = |by| Outcome::Killed {
            by: Some(by),
            exit: CODE,
        };
        for (outcome, fault) in [
            (Outcome::Exited { code: 3 }, Fault::Command),
            (
                Outcome::Signaled {
                    signal: 9,
                    core_dumped: false,
                },
                Fault::Command,
            ),
            (Outcome::TimedOut { exit: None }, Fault::Limit),
            (Outcome::OutOfMemory { exit: None }, Fault::Limit),
            (killed(CallEnd::Reset), Fault::Caller),
            (killed(CallEnd::Deadline), Fault::Limit),
            (killed(CallEnd::ClientLost), Fault::Network),
            (killed(CallEnd::ConnectionLost), Fault::Network),
            (killed(CallEnd::GraceExpired), Fault::Network),
            (killed(CallEnd::Revoked), Fault::Caller),
            (killed(CallEnd::ShutDown), Fault::Server),
            (killed(CallEnd::Violation), Fault::Caller),
            (Outcome::Killed { by: None, exit: CODE }, Fault::Unknown),
            (
                Outcome::FailedToStart(StartFailure::CommandNotFound),
                Fault::Caller,
            ),
            (
                Outcome::FailedToStart(StartFailure::TooManyProcesses),
                Fault::Limit,
            ),
            (Outcome::FailedToStart(StartFailure::NotConnected), Fault::Network),
            (Outcome::FailedToStart(StartFailure::NotDurable), Fault::Server),
            (Outcome::FailedToStart(StartFailure::Unknown), Fault::Unknown),
            (Outcome::Lost(Loss::Connection), Fault::Network),
            (Outcome::Lost(Loss::Server), Fault::Server),
            (Outcome::Lost(Loss::Superseded), Fault::Caller),
            (Outcome::Unknown, Fault::Unknown),
        ] {
            assert_eq!(outcome.fault(), Some(fault), "{outcome:?}");
        }
    }

    #[test]
    fn a_cancellation_by_the_caller_is_no_failure_and_no_error() {
        for sample in samples() {
            let is_reset = sample.call_end() == Some(CallEnd::Reset);
            assert_eq!(sample.is_cancelled(), is_reset, "{sample:?}");
            assert_eq!(
                sample.is_failure(),
                !is_reset && !sample.is_success(),
                "{sample:?}"
            );
            assert_eq!(sample.error_type().is_some(), sample.is_failure(), "{sample:?}");
        }
        let class = |code| Outcome::Exited { code }.error_type();
        assert_eq!((class(0), class(3)), (None, Some("nonzero_exit")));
    }

    #[test]
    fn a_process_that_was_being_killed_counts_as_killed_with_any_exit_status() {
        for exit in [CommandExit::Code(0), CommandExit::Signal(15)] {
            for by in CallEnd::ALL {
                let outcome = Outcome::of_exit(exit, false, true, Some(by));
                let kind = match by {
                    CallEnd::Deadline => OutcomeKind::TimedOut,
                    _ => OutcomeKind::Killed,
                };
                assert_eq!(
                    (outcome.kind(), outcome.call_end(), outcome.exit()),
                    (kind, Some(by), Some(exit))
                );
            }
        }
        let crashed = Outcome::of_exit(CommandExit::Signal(11), true, false, None);
        assert!(crashed.core_dumped());
        assert_eq!(crashed.exit(), Some(CommandExit::Signal(11)));
        let exited = Outcome::of_exit(CommandExit::Code(7), false, false, None);
        assert_eq!(exited, Outcome::Exited { code: 7 });
    }

    #[test]
    fn a_command_that_ran_out_of_memory_says_so_unless_it_succeeded() {
        for (exit, kind) in [
            (CommandExit::Signal(9), OutcomeKind::OutOfMemory),
            (CommandExit::Code(1), OutcomeKind::OutOfMemory),
            (CommandExit::Code(0), OutcomeKind::Exited),
        ] {
            let outcome = Outcome::of_exit(exit, false, true, None);
            assert_eq!((outcome.kind(), outcome.exit()), (kind, Some(exit)));
        }
    }
}
