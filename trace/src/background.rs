//! Threads whose work nobody waits for.

use crate::limits::BACKGROUND_NICENESS;

/// Has the calling thread, and it alone, go behind others that want the same core: an export or a batch of records otherwise keeps a
/// command's wake-up waiting for as long as a time slice. For good: taking it back would take a privilege. Where the operating system refuses, all stays as it was.
///
/// Linux keeps a niceness for each thread (`setpriority(2)`, "C library/kernel differences"); threads and processes that this one starts inherit it.
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
