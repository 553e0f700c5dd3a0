//! `baton gate`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use baton_analyze::gate::{EXAMPLE, Evidence, Rules, gate};
use baton_analyze::jaeger_search::JaegerInput;
use baton_analyze::limits::RULES_MAX;
use baton_analyze::read::InputFaults;
use baton_analyze::runs::{RunCollector, RunOptions};

use super::history_input;
use super::runs::{InputRuns, Source, block, read};
use crate::args::{GateArgs, HistoryInputArgs};
use crate::error::CliError;
use crate::record::line;
use crate::stdio::page;

pub(crate) fn main(mut args: GateArgs) -> Result<i32, CliError> {
    let Some(path) = args.rules else {
        page(EXAMPLE)?;
        return Ok(0);
    };
    let rules = Rules::parse(&path.display().to_string(), &text(&path)?)?;
    // The number of an input keeps blocks of files apart that have the same name.
    let input = |(number, input): (usize, PathBuf)| {
        let (set, path) = named(input);
        (number.to_string(), set, path)
    };
    let inputs: Vec<(String, Option<String>, PathBuf)> =
        args.inputs.into_iter().enumerate().map(input).collect();
    let sources: Vec<Source<'_>> = inputs
        .iter()
        .map(|(side, set, path)| Source {
            side,
            path,
            attributes: rules.set_attribute().zip(set.as_deref()).into_iter().collect(),
        })
        .collect();
    let options = RunOptions {
        block: block(&args.block),
        pair: args.pair,
        attributes: rules.attributes().map(str::to_owned).collect(),
        with_cancelled: args.with_cancelled,
        all_versions: args.all_versions,
    };
    let InputRuns {
        runs,
        left_out,
        faults,
    } = match args.history.take() {
        Some(history) => from_history(history, options)?,
        None => read(&sources, options)?,
    };
    let evidence = Evidence {
        runs,
        faults,
        checks: args.checks.into_iter().collect(),
        now_ns: args.now,
    };
    let mut verdict = gate(&rules, &evidence);
    let before = left_out
        .counts()
        .map(|(reason, count)| (reason.to_owned(), usize::try_from(count).unwrap_or(usize::MAX)));
    verdict.left_out.extend(before);
    if let Some(path) = args.verdict {
        let written = fs::write(&path, line(&verdict.json()));
        written.map_err(|source| CliError::Write { path, source })?;
    }
    page(&if args.json {
        line(&verdict.json())
    } else {
        verdict.text()
    })?;
    Ok(verdict.exit_code)
}

/// The commands of a history. Says on standard error what they were computed from.
fn from_history(args: HistoryInputArgs, options: RunOptions) -> Result<InputRuns, CliError> {
    let mut collector = RunCollector::new(options);
    let summary = history_input::read(args, |_| None, |call| collector.add_history(&call))?;
    stderr_line!("baton: {}", summary.text());
    let (runs, left_out) = collector.finish();
    Ok(InputRuns {
        runs,
        left_out,
        faults: InputFaults::default(),
    })
}

/// `SET=PATH`, unless there is a file with this name.
fn named(input: PathBuf) -> (Option<String>, PathBuf) {
    let split = input
        .to_str()
        .filter(|text| !input.exists() && !JaegerInput::is_url(text))
        .and_then(|text| text.split_once('='));
    match split {
        Some((set, path)) if !set.is_empty() => (Some(set.to_owned()), path.into()),
        _ => (None, input),
    }
}

/// The rules, if they are text of a bounded length.
fn text(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::ReadRules {
        path: path.into(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    // One byte more, so that longer rules are refused and not cut off.
    file.take(RULES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}
