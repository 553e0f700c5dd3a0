//! The mark of a process: a variable in its environment, which its descendants inherit.
//!
//! The exec-server chooses the value, and each process has another one. The id of a process would not do: clients choose
//! it, so that one client could give its process the id of another client's, and kill that one's descendants with its
//! own.

use std::sync::atomic::{AtomicU64, Ordering};

use baton_spawn::Variable;

/// The variable's name.
pub(crate) const MARK_VARIABLE: &str = "BATON_PROCESS_MARK";

/// The value: 32 hexadecimal digits, of which the first half is one exec-server's, and the second half counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark([u8; Mark::LEN]);

impl Mark {
    pub(super) const LEN: usize = 32;

    pub(super) fn from_value(value: &[u8]) -> Option<Self> {
        value.try_into().ok().map(Self)
    }

    /// As a variable of the child's environment.
    pub(crate) fn variable(&self) -> Option<Variable> {
        Variable::new(MARK_VARIABLE.as_bytes(), &self.0)
    }
}

/// The marks of one exec-server.
#[derive(Debug)]
pub(crate) struct Marks {
    server: u64,
    next: AtomicU64,
}

impl Marks {
    /// Random, so that those of an exec-server's earlier run, or of another one on this machine, are others.
    pub(crate) fn new() -> Self {
        let mut random = [0; 8];
        // On Linux this fails only in a sandbox that refuses getrandom(2), where no session is ever established.
        let _ = getrandom::fill(&mut random);
        Self {
            server: u64::from_le_bytes(random),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> Mark {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut digits = [0; Mark::LEN];
        let halves = digits.chunks_exact_mut(16).zip([self.server, count]);
        for (half, number) in halves {
            for (place, digit) in half.iter_mut().rev().enumerate() {
                *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
            }
        }
        Mark(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_processes_have_the_same_mark() {
        let (marks, others) = (Marks::new(), Marks::new());
        let (one, two, other) = (marks.next(), marks.next(), others.next());
        assert!(one != two && one != other && two != other);
        assert_eq!(&one.0[..16], &two.0[..16]);
        assert_eq!(&two.0[16..], b"0000000000000001");
        let variable = one.variable().unwrap();
        assert_eq!(Mark::from_value(variable.value()), Some(one));
        assert_eq!(Mark::from_value(&variable.value()[1..]), None);
    }
}
