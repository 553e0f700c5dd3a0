//! The bars of this benchmark. Each bar is defined here only, so that no two definitions diverge.

use baton_bench::stats::Bar;

/// Throughput over a blind TCP relay, by congestion control: download, upload.
pub(crate) fn over_blind(congestion_control: &str) -> Option<[Bar; 2]> {
    match congestion_control {
        "bbr" => Some([Bar::AtLeast(0.75), Bar::AtLeast(0.70)]),
        "cubic" => Some([Bar::AtLeast(0.33), Bar::AtLeast(0.33)]),
        _ => None,
    }
}

/// Download over `ssh -J`.
pub(crate) const SSH_DOWNLOAD: Bar = Bar::AtLeast(2.0);
/// Upload over `ssh -J`.
pub(crate) const SSH_UPLOAD: Bar = Bar::AtLeast(2.5);
/// Warm `Run` over a persistent ssh connection in a library, direct, median.
pub(crate) const SSH_WARM: Bar = Bar::AtMost(0.65);
/// Cold `baton exec` over a warm control master's command line, median.
pub(crate) const SSH_COLD: Bar = Bar::AtMost(0.65);
/// Cold `baton exec` with export, its flush included, over the same command line, median.
pub(crate) const SSH_COLD_EXPORT: Bar = Bar::AtMost(0.9);
/// Milliseconds from exit to caller beside a stream of 100 MB/s: median, 99th percentile.
pub(crate) const EXIT_BESIDE_PACED: [Bar; 2] = [Bar::AtMost(0.6), Bar::AtMost(5.0)];
/// Milliseconds from exit to caller beside a stream at full speed: median, 99th percentile.
pub(crate) const EXIT_BESIDE_FULL: [Bar; 2] = [Bar::AtMost(2.0), Bar::AtMost(10.0)];
/// Throughput as a fraction of the link's rate.
pub(crate) const LINK: Bar = Bar::AtLeast(0.9);
/// Milliseconds from exit to caller through the link, beside a stream at full speed: half a round trip and 30 ms.
pub(crate) const EXIT_BEHIND_BULK: Bar = Bar::AtMost(50.0);
/// Throughput and registration beside 63 stalled sessions, over alone.
pub(crate) const STALLED: Bar = Bar::AtLeast(0.9);
/// KiB of relay memory per idle session.
pub(crate) const IDLE_MEMORY: Bar = Bar::AtMost(64.0);
/// Warm `Run` beside idle sessions over alone, median.
pub(crate) const IDLE_RUN: Bar = Bar::AtMost(1.1);
/// Throughput through HAProxy over direct.
pub(crate) const BALANCER_STREAM: Bar = Bar::AtLeast(0.45);
/// Milliseconds that HAProxy adds to a warm `Run`, median.
pub(crate) const BALANCER_RUN: Bar = Bar::AtMost(0.35);
/// KiB of a relay's memory per idle session behind a balancer.
pub(crate) const FLEET_RELAY_MEMORY: Bar = Bar::AtMost(40.0);
/// KiB of the balancer's memory per idle session.
pub(crate) const FLEET_BALANCER_MEMORY: Bar = Bar::AtMost(30.0);
