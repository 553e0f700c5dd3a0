//! State of this process that a child must not inherit.

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getrlimit};

use super::child::TERMINAL;
use super::signals;

/// State of this process that its children would inherit. Each child undoes it before its exec.
#[derive(Debug, Clone, Copy)]
pub struct InheritedState {
    /// This process has a controlling terminal.
    pub(super) has_terminal: bool,
    /// The signals that this process ignores: signal N is bit N - 1.
    pub(super) ignored_signals: u64,
    /// The limit on open files that a child gets, soft and hard: the kernel's `struct rlimit64`. `None`: it keeps this
    /// process's.
    pub(super) open_files: Option<[u64; 2]>,
}

impl InheritedState {
    /// Reads the current state of this process. Children get `open_files` as their soft limit on open files; with
    /// `None` they get this process's.
    ///
    /// If this process ignores SIGCHLD, its default action is restored: else the kernel would discard the exit statuses
    /// of children.
    pub fn capture(open_files: Option<u64>) -> Self {
        signals::keep_exit_statuses();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let limit = getrlimit(Resource::Nofile);
        Self {
            has_terminal: rustix::fs::open(TERMINAL, flags, Mode::empty()).is_ok(),
            ignored_signals: signals::ignored(),
            open_files: open_files
                .filter(|soft| limit.current != Some(*soft))
                .map(|soft| [soft, limit.maximum.unwrap_or(u64::MAX)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_this_process_has_is_not_restored() {
        let own = getrlimit(Resource::Nofile).current;
        assert_eq!(InheritedState::capture(own).open_files, None);
        assert_eq!(InheritedState::capture(None).open_files, None);
    }
}
