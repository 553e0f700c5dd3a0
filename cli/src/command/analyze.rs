//! `baton analyze`.

mod json;
mod text;

use std::io::{self, IsTerminal as _};
use std::ops::Range;
use std::path::PathBuf;

use baton_analyze::analysis::{Analysis, Population, Question, Versions};
use baton_analyze::model::Trace;
use baton_analyze::read::{Progress, ReadSummary, Reader, trace_files};

use super::trace::warn_of_faults;
use crate::args::{AnalyzeArgs, ByArg, Moment};
use crate::error::CliError;
use crate::record;
use crate::stdio::page;

/// The exit code if the traces do not support an answer.
const REFUSED: i32 = 1;

pub(crate) fn main(args: AnalyzeArgs) -> Result<i32, CliError> {
    let files = trace_files(&args.inputs)?;
    let window_ns = window(&args, &files)?;
    let question = Question {
        population: Population {
            window_ns: window_ns.clone(),
            filters: args.filters.clone(),
            versions: match args.all_versions || args.by == ByArg::Version {
                true => Versions::All,
                false => Versions::Newest,
            },
            with_cancelled: args.with_cancelled,
        },
        by: args.by.into(),
        what_if: args.what_if.clone(),
        is_weighted: args.weighted,
    };
    let mut analysis = Analysis::new(question);
    let summary = read(&files, &mut |trace| analysis.add(&trace))?;
    if !args.json {
        warn_of_faults(&summary);
    }
    match analysis.finish(&summary) {
        Ok(report) => {
            let shown = match args.json {
                true => record::line(&json::report(&report, &args, window_ns, &summary)),
                false => text::report(&report, &summary),
            };
            page(&shown)?;
            Ok(0)
        }
        Err(refused) => {
            if args.json {
                page(&record::line(&json::refused(
                    &refused, &args, window_ns, &summary,
                )))?;
            } else {
                stderr_line!("baton: {refused}");
            }
            Ok(REFUSED)
        }
    }
}

fn read(files: &[PathBuf], deliver: &mut dyn FnMut(Trace)) -> Result<ReadSummary, CliError> {
    let all: u64 = files
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    let mut progress = |progress: Progress| {
        let percent = progress.bytes.saturating_mul(100) / all.max(1);
        eprint_progress(&format!(
            "reading: {} MB, {} %",
            progress.bytes / 1_000_000,
            percent.min(100)
        ));
    };
    let is_shown = io::stderr().is_terminal();
    let mut reader = Reader::new(deliver);
    if is_shown {
        reader = reader.with_progress(&mut progress);
    }
    for file in files {
        reader.file(file)?;
    }
    let summary = reader.finish()?;
    if is_shown {
        eprint_progress("");
    }
    Ok(summary)
}

/// Replaces the line on which progress is shown. A closed reader is ignored.
fn eprint_progress(text: &str) {
    use io::Write as _;
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}

/// The window that the arguments select.
fn window(args: &AnalyzeArgs, files: &[PathBuf]) -> Result<Option<Range<u64>>, CliError> {
    if args.since.is_none() && args.until.is_none() {
        return Ok(None);
    }
    let is_relative = |moment: Option<Moment>| matches!(moment, Some(Moment::Ago(_)));
    let now = match args.now {
        Some(Moment::At(now)) => now,
        Some(Moment::Ago(ago)) => baton_trace::record::unix_now_ns().saturating_sub(ago),
        None if is_relative(args.since) || is_relative(args.until) => newest(files)?,
        None => 0,
    };
    let at = |moment: Moment| match moment {
        Moment::At(at) => at,
        Moment::Ago(ago) => now.saturating_sub(ago),
    };
    Ok(Some(args.since.map_or(0, at)..args.until.map_or(u64::MAX, at)))
}

/// The start of the newest span.
fn newest(files: &[PathBuf]) -> Result<u64, CliError> {
    let mut newest = 0;
    read(files, &mut |trace| {
        let starts = trace.spans().iter().filter(|span| span.stage.is_some());
        newest = starts.map(|span| span.start_ns).fold(newest, u64::max);
    })?;
    Ok(newest)
}
