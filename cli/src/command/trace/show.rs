//! `baton trace show`.

use std::io;

use baton_analyze::model::Trace;
use baton_analyze::read::{Reader, trace_files};
use baton_analyze::record::records;

use super::warn_of_faults;
use crate::args::TraceShowArgs;
use crate::error::CliError;
use crate::stdio::page;
use crate::terminal::drawn;

pub(crate) fn main(args: TraceShowArgs) -> Result<i32, CliError> {
    let mut calls = 0_u64;
    let mut printed = Ok(());
    let mut deliver = |trace: Trace| {
        for record in records(&trace) {
            calls += 1;
            if printed.is_ok() {
                printed = page(&drawn(&record, &io::stdout()));
            }
        }
    };
    let mut reader = Reader::new(&mut deliver);
    if let Some(id) = args.id {
        reader = reader.with_trace(id);
    }
    for file in trace_files(std::slice::from_ref(&args.file))? {
        reader.file(&file)?;
    }
    let summary = reader.finish()?;
    printed?;
    warn_of_faults(&summary);
    match calls {
        0 if summary.fault_count > 0 => Err(CliError::NothingRead { path: args.file }),
        _ if summary.fault_count > 0 => Err(CliError::HalfRead {
            path: args.file,
            calls,
        }),
        0 => Err(match args.id {
            Some(id) if summary.spans == 0 => CliError::NoTrace { path: args.file, id },
            _ => CliError::NoCalls {
                path: args.file,
                spans: summary.spans,
            },
        }),
        _ => Ok(0),
    }
}
