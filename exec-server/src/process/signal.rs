//! Signals that a client sends to its process. They wait in the process's state until its driver takes them, at its next
//! turn, and sends them to the process group. A driver never waits for a pipe or for a client, so a signal does not
//! either.

use baton_proto::Signal as SignalName;
use baton_proto::exec;
use rustix::process::Signal;

use crate::error::SignalError;

/// A signal that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientSignal {
    signal: Signal,
    /// The client ends the process by it.
    pub(super) ends: bool,
}

/// Signals that wait for the driver. As with signals of POSIX, one that already waits is not added again, so this is
/// bounded by their number.
#[derive(Debug, Default)]
pub(super) struct PendingSignals {
    signals: Vec<Signal>,
    ends: bool,
}

impl TryFrom<exec::Signal> for ClientSignal {
    type Error = SignalError;

    fn try_from(wire: exec::Signal) -> Result<Self, SignalError> {
        let name = SignalName::from_name(&wire.name).ok_or(SignalError::Unknown)?;
        Ok(Self {
            signal: number(name),
            ends: wire.ends,
        })
    }
}

impl PendingSignals {
    pub(super) fn add(&mut self, ClientSignal { signal, ends }: ClientSignal) {
        self.ends |= ends;
        if !self.signals.contains(&signal) {
            self.signals.push(signal);
        }
    }

    /// Whether the client ends the process by one of them.
    pub(super) fn ends(&self) -> bool {
        self.ends
    }

    /// Whether one of them is SIGKILL, which kills descendants too that have left the group.
    pub(super) fn kills(&self) -> bool {
        self.signals.contains(&Signal::KILL)
    }

    /// In the order in which they came.
    pub(super) fn into_signals(self) -> Vec<Signal> {
        self.signals
    }
}

/// The signal of this operating system.
fn number(name: SignalName) -> Signal {
    match name {
        SignalName::Abrt => Signal::ABORT,
        SignalName::Alrm => Signal::ALARM,
        SignalName::Bus => Signal::BUS,
        SignalName::Chld => Signal::CHILD,
        SignalName::Cont => Signal::CONT,
        SignalName::Fpe => Signal::FPE,
        SignalName::Hup => Signal::HUP,
        SignalName::Ill => Signal::ILL,
        SignalName::Int => Signal::INT,
        SignalName::Kill => Signal::KILL,
        SignalName::Pipe => Signal::PIPE,
        SignalName::Poll => Signal::IO,
        SignalName::Prof => Signal::PROF,
        SignalName::Quit => Signal::QUIT,
        SignalName::Segv => Signal::SEGV,
        SignalName::Stop => Signal::STOP,
        SignalName::Sys => Signal::SYS,
        SignalName::Term => Signal::TERM,
        SignalName::Trap => Signal::TRAP,
        SignalName::Tstp => Signal::TSTP,
        SignalName::Ttin => Signal::TTIN,
        SignalName::Ttou => Signal::TTOU,
        SignalName::Urg => Signal::URG,
        SignalName::Usr1 => Signal::USR1,
        SignalName::Usr2 => Signal::USR2,
        SignalName::Vtalrm => Signal::VTALARM,
        SignalName::Winch => Signal::WINCH,
        SignalName::Xcpu => Signal::XCPU,
        SignalName::Xfsz => Signal::XFSZ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str, ends: bool) -> ClientSignal {
        let wire = exec::Signal {
            name: name.into(),
            ends,
        };
        ClientSignal::try_from(wire).unwrap()
    }

    #[test]
    fn a_signal_that_waits_is_not_added_again_and_ends_if_one_of_them_does() {
        let mut pending = PendingSignals::default();
        for name in ["USR1", "INT", "USR1"] {
            pending.add(signal(name, false));
        }
        assert!(!pending.ends());
        pending.add(signal("INT", true));
        assert!(pending.ends());
        assert_eq!(pending.into_signals(), [Signal::USR1, Signal::INT]);
    }

    #[test]
    fn every_name_has_a_number_of_its_own_and_no_other_name_has_one() {
        let numbers: std::collections::HashSet<_> = SignalName::ALL
            .iter()
            .map(|name| number(*name).as_raw())
            .collect();
        assert_eq!(numbers.len(), SignalName::ALL.len());
        for name in ["", "int", "SIGINT", "2", "RTMIN"] {
            let wire = exec::Signal {
                name: name.into(),
                ends: false,
            };
            assert_eq!(ClientSignal::try_from(wire), Err(SignalError::Unknown), "{name}");
        }
    }
}
