//! The result of a match: the server's parts on the client's interval.
//!
//! The server's clock is not the client's. A part is placed as if the request had reached the server at once, and
//! clamped to the client's interval. Its duration is exact unless it was clamped; its position is an estimate.

use std::time::{Duration, Instant};

use crate::limits::{REPORT_PART_NAME_MAX, REPORT_PARTS_MAX};
use crate::text::shown_name;

/// One part of the server's work, as its report has it. Untrusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedPart<'a> {
    /// What the server did.
    pub name: &'a str,
    /// From the receipt of the request at the server to the part's start.
    pub offset: Duration,
    /// The part's length.
    pub duration: Duration,
}

impl<'a> ReportedPart<'a> {
    /// A part whose times are in nanoseconds.
    pub fn from_ns(name: &'a str, offset_ns: u64, duration_ns: u64) -> Self {
        Self {
            name,
            offset: Duration::from_nanos(offset_ns),
            duration: Duration::from_nanos(duration_ns),
        }
    }
}

/// How a part lies to the other parts of its report, by the reported times. The first that applies, from the top. A
/// part that only touches another is apart from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartRelation {
    /// It and another part have some time in common, and each has some time alone.
    Overlaps,
    /// It lies within another part. Of two equal parts, the later one of the report lies within the earlier.
    Nested,
    /// Another part lies within it.
    Encloses,
    /// It has no time in common with another part.
    Apart,
}

impl PartRelation {
    /// The name on a span.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlaps => "overlaps",
            Self::Nested => "nested",
            Self::Encloses => "encloses",
            Self::Apart => "apart",
        }
    }
}

/// One part of a [`RequestTiming`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTiming {
    /// The reported name without control characters, at most
    /// [`REPORT_PART_NAME_MAX`](crate::limits::REPORT_PART_NAME_MAX) bytes.
    pub name: String,
    /// From the start of the client's interval to the part's start, within the interval.
    pub offset: Duration,
    /// Its length within the interval.
    pub duration: Duration,
    /// How it lies to the other parts. Durations of parts that are not all [`PartRelation::Apart`] have no sum.
    pub relation: PartRelation,
    /// Whether some of the reported part lies outside of the client's interval and was cut off.
    pub is_clamped: bool,
}

/// The timing of one request: the client's interval and the server's parts in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTiming {
    /// The request's ordinal.
    pub ordinal: u64,
    /// The client's stamp at the start.
    pub start: Instant,
    /// The client's interval: from the start to the stamped end, or without one to the receipt of the report.
    pub total: Duration,
    /// The server's parts, in the order of the report.
    pub parts: Vec<PartTiming>,
    /// Parts of the report beyond [`REPORT_PARTS_MAX`](crate::limits::REPORT_PARTS_MAX), which were dropped.
    pub dropped_parts: usize,
    /// The union of the parts: each nanosecond counts once.
    pub covered: Duration,
    /// `total − covered`, exactly: the network, the client, and what the server does not report.
    pub rest: Duration,
}

impl RequestTiming {
    pub(super) fn new(ordinal: u64, start: Instant, end: Instant, reported: &[ReportedPart<'_>]) -> Self {
        let total = end.saturating_duration_since(start);
        let used = &reported[..reported.len().min(REPORT_PARTS_MAX)];
        let parts: Vec<PartTiming> = used
            .iter()
            .enumerate()
            .map(|(at, part)| {
                let end = part.offset.saturating_add(part.duration);
                let offset = part.offset.min(total);
                PartTiming {
                    name: shown_name(part.name, REPORT_PART_NAME_MAX),
                    offset,
                    duration: end.min(total) - offset,
                    relation: relation(at, used),
                    is_clamped: end > total,
                }
            })
            .collect();
        let covered = covered(&parts);
        Self {
            ordinal,
            start,
            total,
            parts,
            dropped_parts: reported.len() - used.len(),
            covered,
            rest: total - covered,
        }
    }
}

/// How the part at `at` lies to the others. At most `REPORT_PARTS_MAX` squared comparisons for a report.
fn relation(at: usize, parts: &[ReportedPart<'_>]) -> PartRelation {
    let ends = |part: &ReportedPart<'_>| (part.offset, part.offset.saturating_add(part.duration));
    let (start, end) = ends(&parts[at]);
    let (mut is_nested, mut encloses) = (false, false);
    for (other_at, other) in parts.iter().enumerate().filter(|(other_at, _)| *other_at != at) {
        let (other_start, other_end) = ends(other);
        let has_common_time = start.max(other_start) < end.min(other_end)
            // An empty part has no time; it is nested where it lies strictly inside.
            || start == end && other_start < start && end < other_end
            || other_start == other_end && start < other_start && other_end < end;
        if !has_common_time {
            continue;
        }
        let lies_within = other_start <= start && end <= other_end;
        let holds = start <= other_start && other_end <= end;
        match (lies_within, holds) {
            (true, true) if other_at < at => is_nested = true,
            (true, true) => encloses = true,
            (true, false) => is_nested = true,
            (false, true) => encloses = true,
            (false, false) => return PartRelation::Overlaps,
        }
    }
    match (is_nested, encloses) {
        (true, _) => PartRelation::Nested,
        (false, true) => PartRelation::Encloses,
        (false, false) => PartRelation::Apart,
    }
}

/// The union of the parts.
fn covered(parts: &[PartTiming]) -> Duration {
    let mut intervals: Vec<_> = parts
        .iter()
        .map(|part| (part.offset, part.offset + part.duration))
        .collect();
    intervals.sort_unstable();
    let (mut covered, mut until) = (Duration::ZERO, Duration::ZERO);
    for (start, end) in intervals {
        let start = start.max(until);
        if end > start {
            covered += end - start;
            until = end;
        }
    }
    covered
}
