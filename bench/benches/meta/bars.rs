//! What metadata must reach. One place, so that a bar is never quietly two.

use baton_bench::stats::Bar;

/// Rows written for each patch accepted, of 1,000 threads at 50,000 patches a second.
pub(crate) const COALESCE: Bar = Bar::AtMost(0.2);
/// Records made durable a second, over what SQLite alone inserts in batches.
pub(crate) const SUSTAINED: Bar = Bar::AtLeast(0.8);
/// Barrier over fsync, 99th percentiles: idle, under load.
pub(crate) const BARRIER: [Bar; 2] = [Bar::AtMost(2.0), Bar::AtMost(4.0)];
/// Milliseconds of `baton history --failed --since 1d` at 1,000,000 records, the median.
pub(crate) const HISTORY: Bar = Bar::AtMost(20.0);
/// Terminal delivery with the store on, over `--state none`: 50th and 99th percentile, whatever the disk does.
pub(crate) const DELIVERY: [Bar; 2] = [Bar::AtMost(1.03), Bar::AtMost(1.15)];
/// Resident megabytes that the queue takes at its bound.
pub(crate) const QUEUE_MEMORY: Bar = Bar::AtMost(32.0);
