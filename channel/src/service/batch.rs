//! How many bytes the writer hands to HTTP/2 at once.
//!
//! Sans-IO. From the sizes and times of recent batches it sets the batch size to the bytes that HTTP/2 takes in
//! [`limits::WRITE_BATCH_TIME`].

use std::time::Instant;

use crate::limits;

/// The current batch size, and the measurement that sets the next one.
pub(super) struct Batch {
    size: usize,
    /// Length of the latest batch.
    latest: usize,
    /// Start of the current measurement.
    since: Instant,
    /// Bytes handed over since then.
    bytes: usize,
}

impl Batch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            size: limits::WRITE_BATCH,
            latest: 0,
            since: now,
            bytes: 0,
        }
    }

    /// Bytes after which a batch is complete.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Probable length of the next batch.
    pub(super) fn expected(&self) -> usize {
        self.latest
    }

    /// Notes that a batch of `len` bytes was handed over.
    pub(super) fn handed_over(&mut self, now: Instant, len: usize) {
        self.latest = len;
        self.bytes = self.bytes.saturating_add(len);
        let time = now.saturating_duration_since(self.since);
        if time < limits::WRITE_BATCH_SAMPLE {
            return;
        }
        let share = limits::WRITE_BATCH_TIME.as_secs_f64() / time.as_secs_f64();
        let size = (self.bytes as f64 * share) as usize;
        self.size = size.clamp(limits::WRITE_BATCH, limits::WRITE_BATCH_MAX);
        self.since = now;
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The batch size after one second at `rate` bytes per second.
    fn size_at(rate: usize) -> usize {
        let start = Instant::now();
        let mut batch = Batch::new(start);
        let mut sent = 0;
        while sent < rate {
            sent += batch.size();
            let time = Duration::from_secs_f64(sent as f64 / rate as f64);
            batch.handed_over(start + time, batch.size());
        }
        batch.size()
    }

    #[test]
    fn a_batch_is_what_the_path_takes_in_half_a_millisecond_within_limits() {
        assert_eq!(size_at(1_000), limits::WRITE_BATCH);
        assert_eq!(size_at(25_000_000), limits::WRITE_BATCH);
        let between = size_at(300_000_000);
        assert!((140_000..160_000).contains(&between), "{between}");
        assert_eq!(size_at(4_000_000_000), limits::WRITE_BATCH_MAX);
    }

    #[test]
    fn buffers_that_fill_at_once_do_not_make_a_slow_path_look_fast() {
        let start = Instant::now();
        let mut batch = Batch::new(start);
        for _ in 0..16 {
            batch.handed_over(start, limits::WRITE_BATCH);
            assert_eq!(batch.size(), limits::WRITE_BATCH);
        }
        batch.handed_over(start + Duration::from_millis(40), limits::WRITE_BATCH);
        assert_eq!(batch.size(), limits::WRITE_BATCH);
    }

    #[test]
    fn a_pause_ends_large_batches() {
        let start = Instant::now();
        let mut batch = Batch::new(start);
        batch.handed_over(start + limits::WRITE_BATCH_SAMPLE, 8 << 20);
        assert_eq!(batch.size(), limits::WRITE_BATCH_MAX);
        batch.handed_over(start + Duration::from_secs(1), 100);
        assert_eq!(batch.size(), limits::WRITE_BATCH);
    }

    #[test]
    fn the_expected_length_is_that_of_the_latest_batch() {
        let now = Instant::now();
        let mut batch = Batch::new(now);
        assert_eq!(batch.expected(), 0);
        batch.handed_over(now, 300);
        assert_eq!(batch.expected(), 300);
    }
}
