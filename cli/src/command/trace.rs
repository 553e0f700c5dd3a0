//! `baton trace`.

pub(crate) mod show;

use baton_analyze::read::ReadSummary;
use baton_trace::text::printable;

/// Prints what could not be read.
pub(crate) fn warn_of_faults(summary: &ReadSummary) {
    for fault in &summary.faults {
        stderr_line!("baton: {}", printable(&fault.to_string()));
    }
    let more = summary.fault_count - summary.faults.len() as u64;
    if more > 0 {
        stderr_line!("baton: {more} more faults in the input");
    }
    if summary.spans_without_id > 0 {
        stderr_line!(
            "baton: {} spans without a valid trace id and span id were left out",
            summary.spans_without_id
        );
    }
    if summary.late_spans > 0 {
        stderr_line!(
            "baton: {} spans of traces that were complete before were left out: is a file given twice?",
            summary.late_spans
        );
    }
}
