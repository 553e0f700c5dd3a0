//! Lowers the scheduling priority of background threads.

use crate::limits::BACKGROUND_NICENESS;

/// Lowers the priority of the calling thread only. Otherwise an export or a metadata batch could delay the wake-up of a
/// command by a time slice. The change is permanent, because raising the priority again needs a privilege. If the
/// operating system refuses, the priority is unchanged.
///
/// Linux keeps a niceness for each thread (`setpriority(2)`, "C library/kernel differences"); threads and processes
/// that this one starts inherit it.
pub fn lower_priority() {
    let _ = rustix::process::nice(BACKGROUND_NICENESS);
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_the_thread_that_asks_gives_way() {
        let before = getpriority_process(None).unwrap();
        let there = std::thread::spawn(|| {
            lower_priority();
            getpriority_process(None).unwrap()
        });
        // 19 is as nice as can be.
        assert_eq!(there.join().unwrap(), (before + BACKGROUND_NICENESS).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
