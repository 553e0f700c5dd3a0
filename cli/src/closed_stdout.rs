//! How this program was started: whether standard output was open.
//!
//! Rust's runtime opens `/dev/null` in place of a standard stream that is closed, before `main`, so that no other file gets its number. After
//! that nobody can tell `>&-` from `>/dev/null`, and a command's output would vanish without a word. So this looks earlier, from a
//! constructor, which the C library calls before it calls `main`.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// Before `main` there is no runtime of Rust yet: a system call and a store need none.
#[ctor::ctor(unsafe)]
fn look() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Whether what is written to standard output goes nowhere, though nobody chose that.
pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}
