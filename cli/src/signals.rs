//! The signals that request this process to stop.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves with the number of the first stop signal.
pub(crate) async fn stop() -> i32 {
    StopSignals::new().next().await
}

/// SIGHUP, SIGINT, SIGQUIT and SIGTERM, from the creation of this value on. Signals that the parent process ignored
/// stay ignored: nohup does that, and a shell without job control does it for its background processes.
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
        // A signal without a handler has its default action.
        let installed =
            heeded.filter_map(|number| Some((number, signal(SignalKind::from_raw(number)).ok()?)));
        Self(installed.collect())
    }

    /// The number of the next signal. Several signals with one number since the last call count once. Cancellation
    /// safe.
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

/// Ends this process with the signal's default action. A shell then also ends a loop that runs this process, which it
/// does not do for an exit code. Returns if that is not possible, and for SIGQUIT, which would dump core.
pub(crate) fn exit_by_signal(number: i32) {
    if number != SignalKind::quit().as_raw_value() {
        // If it fails, the exit code reports the signal.
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
}

/// The signals that a process ignores, signal N as bit N - 1, from its `/proc/PID/status`.
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
