//! Detects whether standard output was closed when this program started.
//!
//! Rust's runtime opens `/dev/null` for a closed standard stream before `main`, so that no other file gets its number.
//! Afterwards `>&-` and `>/dev/null` are indistinguishable, and a command's output would be lost without an error. So
//! this checks earlier, in a constructor, which the C library calls before `main`.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// Rust's runtime is not initialised before `main`; a system call and a store do not need it.
#[ctor::ctor(unsafe)]
fn check_stdout() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Whether standard output was closed, so that writes to it are lost.
pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}
