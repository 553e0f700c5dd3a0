//! The line on a terminal that shows how far a copy is.

use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use baton_core_client::{CopyMeter, CopyProgress};
use baton_trace::text::counted;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::limits::COPY_REDRAW_INTERVAL;
use crate::{progress, terminal};

/// Cells of the bar.
const BAR: u64 = 20;

/// Drop removes the line.
pub(super) struct ProgressLine {
    meter: CopyMeter,
    begun: Instant,
    /// `None`: nothing is shown.
    ticks: Option<Interval>,
    is_drawn: bool,
    was_drawn: bool,
}

impl ProgressLine {
    /// Shows something only on a terminal, and only for a copy that takes longer than an interval.
    pub(super) fn new(meter: CopyMeter, is_quiet: bool) -> Self {
        let is_shown = !is_quiet && io::stderr().is_terminal();
        let ticks = is_shown.then(|| {
            let first = tokio::time::Instant::now() + COPY_REDRAW_INTERVAL;
            let mut ticks = interval_at(first, COPY_REDRAW_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self {
            meter,
            begun: Instant::now(),
            ticks,
            is_drawn: false,
            was_drawn: false,
        }
    }

    /// Waits until the line is to be drawn again. Cancellation safe.
    pub(super) async fn tick(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => pending().await,
        }
    }

    pub(super) fn draw(&mut self) {
        let text = text(self.progress(), self.took());
        let columns = terminal::columns(&io::stderr());
        // A line that wraps could not be removed.
        let shown: String = text.chars().take(columns.saturating_sub(1)).collect();
        progress::show(&shown);
        (self.is_drawn, self.was_drawn) = (true, true);
    }

    /// Removes the line. Whether it was ever drawn.
    pub(super) fn clear(&mut self) -> bool {
        if std::mem::take(&mut self.is_drawn) {
            progress::clear();
        }
        self.was_drawn
    }

    pub(super) fn progress(&self) -> CopyProgress {
        self.meter.progress()
    }

    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The totals of a copy that has ended.
    pub(super) fn summary(&self) -> String {
        let (progress, took) = (self.progress(), self.took());
        format!(
            "{}, {} in {:.1} s ({}/s)",
            counted(progress.files, "file", "files"),
            size(progress.bytes),
            took.as_secs_f64(),
            size(rate(progress.bytes, took))
        )
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

fn text(progress: CopyProgress, took: Duration) -> String {
    let CopyProgress {
        files,
        files_found,
        bytes,
        bytes_found,
        ..
    } = progress;
    let of_all = |whole: u64| match bytes_found {
        0 => 0,
        // In 128 bits, because a hostile exec-server names any size.
        all => u64::try_from(u128::from(bytes) * u128::from(whole) / u128::from(all))
            .unwrap_or(whole)
            .min(whole),
    };
    let filled = of_all(BAR);
    let bar: String = (0..BAR)
        .map(|cell| if cell < filled { '#' } else { '-' })
        .collect();
    format!(
        "[{bar}] {} % of {}, {files} of {}, {}/s",
        of_all(100),
        size(bytes_found),
        counted(files_found, "file", "files"),
        size(rate(bytes, took)),
    )
}

/// Bytes a second.
fn rate(bytes: u64, took: Duration) -> u64 {
    let millis = took.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

/// Bytes in units of 1,000.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_part_that_is_copied_whatever_the_sizes() {
        let shown = |bytes, bytes_found| {
            let meter = CopyMeter::default().progress();
            let mut progress = meter;
            (progress.bytes, progress.bytes_found) = (bytes, bytes_found);
            (progress.files, progress.files_found) = (1, 2);
            text(progress, Duration::from_secs(2))
        };
        assert_eq!(
            shown(500, 1_000),
            "[##########----------] 50 % of 1.0 kB, 1 of 2 files, 250 B/s"
        );
        assert!(shown(0, 0).starts_with("[--------------------] 0 % of 0 B"));
        assert!(shown(2_000, 1_000).starts_with("[####################] 100 %"));
        assert!(shown(u64::MAX, u64::MAX).contains(" 100 % of 18446744073.7 GB"));
    }
}
