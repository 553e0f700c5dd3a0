//! Asking to stop.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves with the number of the first that [`StopSignals`] knows.
pub(crate) async fn stop() -> i32 {
    StopSignals::new().next().await
}

/// SIGHUP, SIGINT, SIGQUIT and SIGTERM, from when this is made. What our parent had ignored stays so: that is how nohup, and a shell
/// without job control for what it runs in the background, say that we are to go on.
pub(crate) struct StopSignals(Vec<(i32, Signal)>);

impl StopSignals {
    pub(crate) fn new() -> Self {
        let ignored = std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored(&status));
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::terminate(),
        ];
        let numbers = kinds.iter().map(SignalKind::as_raw_value);
        let heeded = numbers.filter(|number| ignored >> (number - 1) & 1 == 0);
        // Where a handler cannot be installed the default action will do.
        let installed =
            heeded.filter_map(|number| Some((number, signal(SignalKind::from_raw(number)).ok()?)));
        Self(installed.collect())
    }

    /// The number of the next one. Those of one kind that come before anybody looks count once. Cancellation safe.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|cx| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Ends this process as the signal would have done at once. A shell then ends the loop that ran us, too, which it does for no exit code.
/// Returns if that is not possible, and for SIGQUIT, which would leave a core.
pub(crate) fn exit_by_signal(number: i32) {
    if number != SignalKind::quit().as_raw_value() {
        // The exit code says the same.
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
}

/// The signals that a process ignores, signal N as bit N - 1, by its `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_status_of_a_process() {
        let status =
            "Name:\tbaton\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert_eq!(ignored(status), 1 | 1 << 12);
        assert_eq!(ignored("SigIgn:\tx\n"), 0);
        assert_eq!(ignored(""), 0);
    }
}
