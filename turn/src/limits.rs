//! Every limit of this crate: its value, what it protects, and the memory that it can cost.

use std::time::Duration;

/// Requests of one stream that wait for a timing report at once. A server that never reports would otherwise grow the
/// table without end. Enough for three requests a second over all of [`REPORT_TIMEOUT`]. 40 bytes each, so 40 KiB.
pub const WAITING_REQUESTS_MAX: usize = 1024;

/// How long a request waits for its timing report. Longer than a slow answer of a model takes, because a report often
/// comes with the answer's end.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(300);

/// Settled requests of one stream whose late or duplicate report is still recognised. A multiple of
/// [`WAITING_REQUESTS_MAX`], so that requests that were lost together are all remembered; 16 bytes each, so 64 KiB.
pub const SETTLED_REQUESTS_MAX: usize = 4096;

/// The most that a caller may set the two bounds above to. 2.5 MiB of waiting and 1 MiB of settled requests.
pub const WAITING_REQUESTS_CEILING_MAX: usize = 65_536;

/// Parts of one timing report that are kept; the others are counted. Servers report a handful. Bounds the spans of a
/// request, and the comparisons that find overlaps (1,024).
pub const REPORT_PARTS_MAX: usize = 32;

/// Bytes of a part's name that are kept. It becomes a span's name. A result holds at most [`REPORT_PARTS_MAX`] of them,
/// 2 KiB.
pub const REPORT_PART_NAME_MAX: usize = 64;
