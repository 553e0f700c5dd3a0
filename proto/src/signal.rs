//! Signals by their POSIX names. Numbers differ between systems, so they are never on the wire.

use std::fmt;
use std::str::FromStr;

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $signal:ident $name:literal)+) => {
        /// A signal of POSIX.1-2008 or a later edition.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Signal {
            $($(#[doc = $doc])+ $signal,)+
        }

        impl Signal {
            /// Every signal, by name.
            pub const ALL: &[Self] = &[$(Self::$signal,)+];

            /// Its name on the wire: that of POSIX without `SIG`, like `INT`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$signal => $name,)+
                }
            }
        }
    };
}

signals! {
    /// The process aborts.
    Abrt "ABRT"
    /// An alarm clock.
    Alrm "ALRM"
    /// Access to an undefined part of a memory object.
    Bus "BUS"
    /// A child has ended, was stopped or continues.
    Chld "CHLD"
    /// Continue, if stopped.
    Cont "CONT"
    /// An erroneous arithmetic operation.
    Fpe "FPE"
    /// The terminal hung up.
    Hup "HUP"
    /// An illegal instruction.
    Ill "ILL"
    /// Interrupt: what Ctrl-C sends.
    Int "INT"
    /// Kill. No process can handle it.
    Kill "KILL"
    /// A write to a pipe without readers.
    Pipe "PIPE"
    /// An event of a file descriptor. Not in POSIX.1-2024.
    Poll "POLL"
    /// A profiling timer. Not in POSIX.1-2024.
    Prof "PROF"
    /// Quit: what Ctrl-\\ sends. The process dumps core by default.
    Quit "QUIT"
    /// An invalid memory reference.
    Segv "SEGV"
    /// Stop. No process can handle it.
    Stop "STOP"
    /// A bad system call.
    Sys "SYS"
    /// Terminate.
    Term "TERM"
    /// A trace trap.
    Trap "TRAP"
    /// Stop: what Ctrl-Z sends.
    Tstp "TSTP"
    /// A background process reads its terminal.
    Ttin "TTIN"
    /// A background process writes to its terminal.
    Ttou "TTOU"
    /// Urgent data at a socket.
    Urg "URG"
    /// For applications.
    Usr1 "USR1"
    /// For applications.
    Usr2 "USR2"
    /// A virtual timer.
    Vtalrm "VTALRM"
    /// The terminal's size has changed. Since POSIX.1-2024.
    Winch "WINCH"
    /// The limit on CPU time is exceeded.
    Xcpu "XCPU"
    /// The limit on the size of a file is exceeded.
    Xfsz "XFSZ"
}

impl Signal {
    /// The signal with this name on the wire. No other spelling is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|signal| signal.name() == name)
    }
}

/// The name on the wire.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of a POSIX signal, like INT, TERM or KILL")]
pub struct UnknownSignal;

/// As people write it: upper or lower case, with or without `SIG`.
impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        Self::from_name(name).ok_or(UnknownSignal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_read_from_its_own_name_and_from_no_other_on_the_wire() {
        assert_eq!(Signal::ALL.len(), 29);
        for signal in Signal::ALL {
            let name = signal.name();
            assert_eq!(Signal::from_name(name), Some(*signal));
            assert_eq!(Signal::from_name(&name.to_lowercase()), None);
            assert_eq!(Signal::from_name(&format!("SIG{name}")), None);
        }
        for other in ["", "9", "EXIT", "RTMIN", " INT", "INT\0"] {
            assert_eq!(Signal::from_name(other), None, "{other:?}");
        }
    }

    #[test]
    fn people_may_write_a_signal_in_lower_case_and_with_its_prefix() {
        for text in ["INT", "int", "SIGINT", "SigInt"] {
            assert_eq!(text.parse(), Ok(Signal::Int), "{text}");
        }
        assert_eq!("SIGSYS".parse(), Ok(Signal::Sys));
        for text in ["", "SIG", "SIGSIGINT", "2", "CHILD"] {
            assert_eq!(text.parse::<Signal>(), Err(UnknownSignal), "{text}");
        }
    }
}
