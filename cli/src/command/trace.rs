//! `baton trace`.

pub(crate) mod check;
pub(crate) mod compact;
pub(crate) mod show;

use baton_analyze::read::{Fault, ReadSummary};
use baton_trace::text::printable;
use serde_json::{Value, json};

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

/// What was read, for programs.
pub(crate) fn summary_json(summary: &ReadSummary) -> Value {
    let fault = |fault: &Fault| {
        json!({
            "file": fault.name,
            "line": fault.line,
            "byte": fault.offset,
            "what": fault.what,
            "spans_before": fault.spans_before,
        })
    };
    let files: Vec<_> = summary
        .files
        .iter()
        .map(|file| json!({ "file": file.name, "bytes": file.bytes, "spans": file.spans, "faults": file.faults }))
        .collect();
    json!({
        "files": files,
        "traces": summary.traces,
        "spans": summary.spans,
        "duplicate_spans": summary.duplicate_spans,
        "late_spans": summary.late_spans,
        "spans_without_id": summary.spans_without_id,
        "fault_count": summary.fault_count,
        "faults": summary.faults.iter().map(fault).collect::<Vec<_>>(),
        "spilled_bytes": summary.spilled_bytes,
    })
}
