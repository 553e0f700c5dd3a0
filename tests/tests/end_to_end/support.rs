//! Support code of the end-to-end tests.
//!
//! * [`Testbed`]: a relay, an exec-server and the home directory of an allowed client;
//! * [`Running`], [`Finished`]: one `baton` command with a deadline;
//! * [`Mark`]: finds the processes of one test, grandchildren included;
//! * [`Pty`], [`OnPty`]: a pseudo-terminal, and a program on it;
//! * [`Proxied`]: a testbed with a fault proxy between every two parts;
//! * [`Proxy`]: a TCP proxy that records every byte;
//! * [`spans`]: assertions on the spans of one `echo`.

mod mark;
mod proxied;
mod proxy;
mod pty;
mod running;
pub(crate) mod spans;
mod testbed;

use std::thread;
use std::time::{Duration, Instant};

use baton_support::process::RunningProgram;

pub(crate) use mark::Mark;
pub(crate) use proxied::Proxied;
pub(crate) use proxy::Proxy;
pub(crate) use pty::{OnPty, Pty};
pub(crate) use running::assert_printable;
pub(crate) use running::{Finished, Input, Running, run};
pub(crate) use testbed::{Home, Testbed, after, relay, signal};

/// Deadline of every wait. Most waits end within milliseconds; the margin is for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL_PAUSE: Duration = Duration::from_millis(5);

/// Polls until `probe` returns a value; fails after [`PATIENCE`].
pub(crate) fn poll<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(POLL_PAUSE);
    }
}

/// Waits until the stderr of a program contains this text.
pub(crate) fn await_says(program: &RunningProgram, text: &str) {
    poll(text, || program.stderr().contains(text).then_some(()));
}
