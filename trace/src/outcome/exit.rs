//! The exit status of a process.

use std::borrow::Cow;
use std::fmt;

/// The exit status of a process, as the operating system reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandExit {
    /// The exit code, 0 to 255.
    Code(i32),
    /// The number of the signal that ended it, on the machine where it ran.
    Signal(i32),
}

impl CommandExit {
    /// The code that a shell reports: the exit code, or 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

/// The code, or the name of the signal.
impl fmt::Display for CommandExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(signal) => f.write_str(&signal_name(*signal)),
        }
    }
}

/// The name of a signal on Linux, without `SIG`; the number, if it has no name here.
pub fn signal_name(signal: i32) -> Cow<'static, str> {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        other => return other.to_string().into(),
    };
    name.into()
}
