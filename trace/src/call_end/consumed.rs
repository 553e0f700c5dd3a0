//! The bytes of one call's response that its peer has consumed.
//!
//! The transport stores a greater number whenever credit returns. A task that waits for more is woken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The transport does not tell.
const UNTOLD: u64 = u64::MAX;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ConsumedBytes {
    bytes: AtomicU64,
    is_awaited: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Default for ConsumedBytes {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::new(UNTOLD),
            is_awaited: AtomicBool::new(false),
            waiting: Mutex::new(None),
        }
    }
}

impl ConsumedBytes {
    pub(super) fn set(&self, bytes: u64) {
        // Before the check for a waiting task, which lists itself before it reads the bytes again.
        self.bytes.store(bytes, Ordering::SeqCst);
        if self.is_awaited.load(Ordering::SeqCst) {
            let waiting = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                self.is_awaited.store(false, Ordering::SeqCst);
                waiting.take()
            };
            if let Some(task) = waiting {
                task.wake();
            }
        }
    }

    pub(super) fn get(&self) -> Option<u64> {
        match self.bytes.load(Ordering::SeqCst) {
            UNTOLD => None,
            bytes => Some(bytes),
        }
    }

    pub(super) fn wake_when_more(&self, task: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Some(waker) => waker.clone_from(task),
            None => *waiting = Some(task.clone()),
        }
        self.is_awaited.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_waits_is_woken_once_by_the_next_bytes() {
        let consumed = ConsumedBytes::default();
        assert_eq!(consumed.get(), None);
        consumed.set(0);
        assert_eq!(consumed.get(), Some(0));
        let woken = Arc::new(Woken::default());
        consumed.wake_when_more(&Waker::from(Arc::clone(&woken)));
        consumed.set(10);
        consumed.set(20);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(consumed.get(), Some(20));
    }
}
