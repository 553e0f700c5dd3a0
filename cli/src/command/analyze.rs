//! `baton analyze`.

mod json;
mod text;

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;

use baton_analyze::analysis::{Analysis, Population, Question, Versions};
use baton_analyze::jaeger_search::{JaegerInput, SearchSummary};
use baton_analyze::read::{ReadSummary, trace_files};

use super::history_input::{self, HistorySummary};
use super::trace::warn_of_faults;
use crate::args::{AnalyzeArgs, ByArg, HistoryInputArgs, Moment};
use crate::error::CliError;
use crate::stdio::page;
use crate::{jaeger, progress, record};

/// The exit code if the traces do not support an answer.
const REFUSED: i32 = 1;

/// What the answer was computed from.
struct Basis {
    /// What was read of trace files.
    read: ReadSummary,
    /// What was read of a history.
    history: Option<HistorySummary>,
    /// What was asked of a Jaeger.
    search: Option<SearchSummary>,
    /// The window that the arguments select.
    window_ns: Option<Range<u64>>,
}

pub(crate) fn main(mut args: AnalyzeArgs) -> Result<i32, CliError> {
    let (analysis, basis) = match (args.history.take(), args.jaeger.take()) {
        (Some(history), _) => from_history(&args, history)?,
        (None, Some(jaeger)) => from_jaeger(&args, jaeger)?,
        (None, None) => from_files(&args)?,
    };
    if !args.json {
        warn_of_faults(&basis.read);
    }
    match analysis.finish(&basis.read) {
        Ok(report) => {
            let shown = match args.json {
                true => record::line(&json::report(&report, &args, &basis)),
                false => text::report(&report, &basis),
            };
            page(&shown)?;
            Ok(0)
        }
        Err(refused) => {
            if args.json {
                page(&record::line(&json::refused(&refused, &args, &basis)))?;
            } else {
                stderr_line!("baton: {refused}");
            }
            Ok(REFUSED)
        }
    }
}

fn from_files(args: &AnalyzeArgs) -> Result<(Analysis, Basis), CliError> {
    let files = trace_files(&args.inputs)?;
    let window_ns = window(args, || newest(&files))?;
    let mut analysis = Analysis::new(question(args, window_ns.clone()));
    let basis = Basis {
        read: progress::read_files(&files, &mut |trace| analysis.add(&trace))?,
        history: None,
        search: None,
        window_ns,
    };
    Ok((analysis, basis))
}

fn from_jaeger(args: &AnalyzeArgs, input: JaegerInput) -> Result<(Analysis, Basis), CliError> {
    // A search needs its window first, so ages are relative to now.
    let now = baton_trace::record::unix_now_ns();
    let window = window(args, || Ok(now))?.unwrap_or(0..u64::MAX);
    let since = (window.start > 0).then_some(window.start).or(input.since_ns);
    let until = (window.end < u64::MAX).then_some(window.end).or(input.until_ns);
    let window_ns = jaeger::window(since, until);
    let mut analysis = Analysis::new(question(args, Some(window_ns.clone())));
    let found = jaeger::read(&input, window_ns, &mut |trace| analysis.add(&trace))?;
    let basis = Basis {
        read: found.summary,
        history: None,
        search: Some(found.search),
        window_ns: Some(found.window_ns),
    };
    Ok((analysis, basis))
}

fn from_history(args: &AnalyzeArgs, history: HistoryInputArgs) -> Result<(Analysis, Basis), CliError> {
    let mut read = ReadSummary::default();
    let found = RefCell::new(None);
    let window_of = |newest| {
        let window = window(args, || Ok(newest)).unwrap_or_default();
        found.replace(window.clone());
        window
    };
    let mut analysis = Analysis::new(Question {
        is_history: true,
        population: Population {
            // A record does not say which version made it.
            versions: Versions::All,
            ..question(args, None).population
        },
        ..question(args, None)
    });
    let summary = history_input::read(history, window_of, |call| {
        if let Some(trace) = call.trace() {
            read.traces += 1;
            analysis.add(&trace);
        }
    })?;
    let basis = Basis {
        read,
        history: Some(summary),
        search: None,
        window_ns: found.into_inner(),
    };
    Ok((analysis, basis))
}

fn question(args: &AnalyzeArgs, window_ns: Option<Range<u64>>) -> Question {
    Question {
        population: Population {
            window_ns,
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
        with_repeats: args.repeats,
        is_history: false,
    }
}

/// The window that the arguments select. `newest` finds the newest call, if an age is relative to it.
fn window(
    args: &AnalyzeArgs,
    newest: impl FnOnce() -> Result<u64, CliError>,
) -> Result<Option<Range<u64>>, CliError> {
    if args.since.is_none() && args.until.is_none() {
        return Ok(None);
    }
    let is_relative = |moment: Option<Moment>| matches!(moment, Some(Moment::Ago(_)));
    let now = match args.now {
        Some(Moment::At(now)) => now,
        Some(Moment::Ago(ago)) => baton_trace::record::unix_now_ns().saturating_sub(ago),
        None if is_relative(args.since) || is_relative(args.until) => newest()?,
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
    progress::read_files(files, &mut |trace| {
        let starts = trace.spans().iter().filter(|span| span.stage.is_some());
        newest = starts.map(|span| span.start_ns).fold(newest, u64::max);
    })?;
    Ok(newest)
}
