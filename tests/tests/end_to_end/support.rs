//! What the tests share.
//!
//! * [`Testbed`]: relay, exec-server and an allowed client's home directory;
//! * [`Running`], [`Finished`]: one `baton` command, bounded in time;
//! * [`Mark`]: finds the processes of one test, grandchildren included;
//! * [`Proxy`]: a TCP proxy that keeps every byte;
//! * [`spans`]: what must hold of the spans of one `echo`.

mod mark;
mod proxy;
mod running;
pub(crate) mod spans;
mod testbed;

use std::thread;
use std::time::{Duration, Instant};

use baton_support::process::RunningProgram;

pub(crate) use mark::Mark;
pub(crate) use proxy::Proxy;
pub(crate) use running::assert_printable;
pub(crate) use running::{Finished, Input, Running, run};
pub(crate) use testbed::{Home, Testbed, after, relay, signal};

/// How long anything may take. Most waits end within milliseconds; this is for a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL_PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer; fails after [`PATIENCE`].
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(POLL_PAUSE);
    }
}

/// Waits until a program has said this on its stderr, which is read beside its stdout.
pub(crate) fn await_says(program: &RunningProgram, text: &str) {
    poll(text, || program.stderr().contains(text).then_some(()));
}
