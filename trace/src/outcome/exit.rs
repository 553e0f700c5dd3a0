//! The exit status of a process.

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
