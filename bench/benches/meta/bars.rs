//! The bars of this benchmark. Each bar is defined here only, so that no two definitions diverge.

use baton_bench::stats::Bar;

/// Rows written per accepted patch, with 1,000 threads and 50,000 patches per second.
pub(crate) const COALESCE: Bar = Bar::AtMost(0.2);
/// Durable records per second, over batched inserts of SQLite alone.
pub(crate) const SUSTAINED: Bar = Bar::AtLeast(0.8);
/// Barrier over fsync, 99th percentile: idle, under load.
pub(crate) const BARRIER: [Bar; 2] = [Bar::AtMost(2.0), Bar::AtMost(4.0)];
/// Milliseconds of `baton history --failed --since 1d` with 1,000,000 records, median.
pub(crate) const HISTORY: Bar = Bar::AtMost(20.0);
/// Latency of the exit event with the store on, over `--state none`: 50th and 99th percentile, on a healthy and on a
/// stalling disk.
pub(crate) const DELIVERY: [Bar; 2] = [Bar::AtMost(1.03), Bar::AtMost(1.15)];
/// Resident megabytes of the queue at its bound.
pub(crate) const QUEUE_MEMORY: Bar = Bar::AtMost(32.0);
