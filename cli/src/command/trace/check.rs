//! `baton trace check`.

use baton_analyze::check::{CheckOptions, check};
use baton_analyze::model::Trace;
use baton_analyze::read::{Reader, trace_files};
use baton_trace::text::counted;
use serde_json::{Value, json};

use super::{summary_json, warn_of_faults};
use crate::args::TraceCheckArgs;
use crate::error::CliError;
use crate::record;
use crate::stdio::page;

/// The exit code if something is wrong with the traces.
const FAULTY: i32 = 1;

pub(crate) fn main(args: TraceCheckArgs) -> Result<i32, CliError> {
    let options = CheckOptions {
        is_partial: args.partial,
        ..CheckOptions::default()
    };
    let mut findings: Vec<Value> = Vec::new();
    let mut finding_count = 0_u64;
    let mut faulty_traces = 0_u64;
    let mut printed = Ok(());
    let mut deliver = |trace: Trace| {
        let found = check(&trace, &options);
        faulty_traces += u64::from(!found.is_empty());
        finding_count += found.len() as u64;
        for finding in found {
            if args.json {
                findings.push(json!({
                    "trace": trace.id().to_string(),
                    "finding": finding.name(),
                    "message": finding.to_string(),
                }));
            } else if printed.is_ok() {
                printed = page(&format!("{} {}: {finding}\n", trace.id(), finding.name()));
            }
        }
    };
    let mut reader = Reader::new(&mut deliver);
    for file in trace_files(&args.inputs)? {
        reader.file(&file)?;
    }
    let summary = reader.finish()?;
    printed?;
    if args.json {
        let result = json!({
            "input": summary_json(&summary),
            "partial": args.partial,
            "faulty_traces": faulty_traces,
            "finding_count": finding_count,
            "findings": findings,
        });
        page(&record::line(&result))?;
    } else {
        warn_of_faults(&summary);
        let checked = format!(
            "checked {} of {}",
            counted(summary.traces, "trace", "traces"),
            counted(summary.spans, "span", "spans"),
        );
        let result = match finding_count {
            0 if summary.is_whole() => "no fault".to_owned(),
            0 => "no fault in what could be read".to_owned(),
            count => format!(
                "{} in {}",
                counted(count, "fault", "faults"),
                counted(faulty_traces, "trace", "traces")
            ),
        };
        page(&format!("{checked}: {result}\n"))?;
    }
    let is_right = finding_count == 0 && summary.is_whole();
    Ok(if is_right { 0 } else { FAULTY })
}
