//! How a process ended: its exit status, and later the totals of its output.
//!
//! There is one [`Termination`] per process. The process's state owns it, and only the process's driver changes it.
//! Observers borrow its parts, a repeated start receives every change, and the process table keeps the value when the
//! process is reaped.

use baton_proto::exec::exited::Status;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Closed, Exited, TraceCarrier};
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::family::FamilySummary;
use baton_trace::outcome::{Loss, Outcome};
use baton_trace::w3c::Traceparent;
use rustix::process::Signal;

/// See the [module](self). Small, because the process table keeps hundreds of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Termination {
    /// The process has not exited.
    #[default]
    Running,
    /// It has exited; output may follow.
    Exited(Exit),
    /// Its output is complete or was cut.
    Closed(Exit, Close),
}

/// The exit of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exit {
    /// The `seq` of the event `Exited`; without a status, which has no event, that of the event before it.
    pub seq: u64,
    /// `None` if the operating system did not report it.
    pub status: Option<Status>,
    /// Why the exec-server was killing the process, if it was.
    pub stopped: Option<StopReason>,
    /// Its cgroup says that the kernel has killed it because memory was used up. False where it has no cgroup of its own,
    /// and where the exec-server has sent SIGKILL too.
    pub out_of_memory: bool,
    /// When the exec-server observed the exit, in nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// The `traceparent` of the `process` span in binary form, if the client may learn it.
    pub traceparent: Option<[u8; Traceparent::BINARY_LEN]>,
}

/// The end of a process's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The `seq` of the event `Closed`, the last one.
    pub seq: u64,
    /// When, in nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// All output that was read.
    pub output: OutputTotals,
    /// Descendants that the exec-server saw when it killed the process, and could not kill.
    pub survivors: u32,
}

/// The output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputTotals {
    /// A descendant still held a pipe when it was no longer read.
    pub truncated: bool,
    /// Bytes of its standard output.
    pub stdout_bytes: u64,
    /// Bytes of its standard error.
    pub stderr_bytes: u64,
}

/// Why the exec-server killed a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its call was cut short or violated the protocol.
    Call(CallEnd),
    /// The server lost its exit status.
    ServerFault,
}

/// Whether a process was killed because memory was used up. The kernel does that by SIGKILL, of which the exec-server may
/// have sent one too. `says_cgroup` is called only if it decides.
pub(crate) fn is_out_of_memory(
    status: Status,
    has_sent_sigkill: bool,
    says_cgroup: impl FnOnce() -> bool,
) -> bool {
    let sigkill = Signal::KILL.as_raw();
    let is_by_sigkill = matches!(status, Status::Signaled(signaled) if signaled.signal == sigkill);
    is_by_sigkill && !has_sent_sigkill && says_cgroup()
}

impl Termination {
    /// The exit, once it is known.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            Self::Running => None,
            Self::Exited(exit) | Self::Closed(exit, _) => Some(exit),
        }
    }
}

impl Exit {
    /// The event `Exited`; `None` without a status. `trace` is the context that the client gets.
    pub(crate) fn event(&self, trace: Option<TraceCarrier>) -> Option<Kind> {
        let call_end = self.stopped.and_then(StopReason::call_end);
        Some(Kind::Exited(Exited {
            status: Some(self.status?),
            observed_unix_ns: self.at_unix_ns,
            trace,
            call_end: CallEnd::to_wire(call_end).into(),
            out_of_memory: self.out_of_memory,
        }))
    }

    /// The trace context that a repeated start gets: `traceparent` alone.
    pub(crate) fn bare_trace(&self) -> Option<TraceCarrier> {
        self.traceparent.map(|traceparent| TraceCarrier {
            traceparent: traceparent.to_vec().into(),
            ..TraceCarrier::default()
        })
    }

    /// How the process ended, for records and spans.
    pub fn outcome(&self) -> Outcome {
        let (exit, core_dumped) = match self.status {
            None => return Outcome::Lost(Loss::Server),
            Some(Status::Code(code)) => (CommandExit::Code(code), false),
            Some(Status::Signaled(signaled)) => (CommandExit::Signal(signaled.signal), signaled.core_dumped),
        };
        match self.stopped {
            Some(StopReason::ServerFault) => Outcome::Killed {
                by: None,
                exit: Some(exit),
            },
            stopped => {
                let call_end = stopped.and_then(StopReason::call_end);
                Outcome::of_exit(exit, core_dumped, self.out_of_memory, call_end)
            }
        }
    }
}

impl Close {
    /// The event `Closed`. `family` is what the command's family measured; the answer to a repeated start has none.
    pub(crate) fn event(&self, family: Option<&FamilySummary>) -> Kind {
        let OutputTotals {
            truncated,
            stdout_bytes,
            stderr_bytes,
        } = self.output;
        Kind::Closed(Closed {
            truncated,
            stdout_bytes,
            stderr_bytes,
            family: family.map(FamilySummary::to_wire),
            survivors: self.survivors,
        })
    }
}

impl StopReason {
    /// Why the call was cut short, if that is the reason.
    pub fn call_end(self) -> Option<CallEnd> {
        match self {
            Self::Call(end) => Some(end),
            Self::ServerFault => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use baton_proto::exec::Signaled;
    use baton_trace::outcome::OutcomeKind;

    use super::*;

    #[test]
    fn only_a_sigkill_that_the_exec_server_did_not_send_is_out_of_memory_if_the_cgroup_says_so() {
        let by = |signal| {
            Status::Signaled(Signaled {
                signal,
                core_dumped: false,
            })
        };
        assert!(is_out_of_memory(by(9), false, || true));
        assert!(!is_out_of_memory(by(9), false, || false));
        // A shell whose child was killed says so by 137, if at all.
        for (status, has_sent_sigkill) in [(by(9), true), (by(15), false), (Status::Code(137), false)] {
            assert!(!is_out_of_memory(status, has_sent_sigkill, || panic!(
                "{status:?}"
            )));
        }
    }

    #[test]
    fn the_client_the_record_and_the_span_are_told() {
        for (out_of_memory, outcome) in [(false, OutcomeKind::Exited), (true, OutcomeKind::OutOfMemory)] {
            let exit = Exit {
                seq: 3,
                status: Some(Status::Code(137)),
                stopped: None,
                out_of_memory,
                at_unix_ns: 7,
                traceparent: None,
            };
            let Some(Kind::Exited(exited)) = exit.event(None) else {
                panic!("no event")
            };
            assert_eq!(exited.out_of_memory, out_of_memory);
            assert_eq!(exit.outcome().kind(), outcome);
        }
    }
}
