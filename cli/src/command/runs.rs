//! The runs in trace files, for `baton compare` and `baton gate`.

use std::path::{Path, PathBuf};

use baton_analyze::jaeger_search::JaegerInput;
use baton_analyze::read::{InputFaults, ReadSummary, trace_files};
use baton_analyze::runs::{BlockBy, RunCollector, RunOptions, Runs, RunsLeftOut};
use baton_trace::text::counted;
use serde_json::{Value, json};

use super::trace::warn_of_faults;
use crate::args::values::jaeger_input;
use crate::error::CliError;
use crate::progress;
use crate::{jaeger, record};

/// What `--block` means.
pub(crate) fn block(name: &str) -> BlockBy {
    match name {
        "client" => BlockBy::Client,
        "server" => BlockBy::Server,
        "file" => BlockBy::File,
        attribute => BlockBy::Attribute(attribute.to_owned()),
    }
}

/// Files to read, with what is known of their runs.
pub(crate) struct Source<'a> {
    /// Names the side or set, so that its files are not those of another.
    pub(crate) side: &'a str,
    pub(crate) path: &'a Path,
    /// Attributes of all its runs.
    pub(crate) attributes: Vec<(&'a str, &'a str)>,
}

/// The runs of some sources.
pub(crate) struct InputRuns {
    pub(crate) runs: Runs,
    pub(crate) left_out: RunsLeftOut,
    /// What of the files was not read.
    pub(crate) faults: InputFaults,
}

/// Reads the runs of some sources. Says on standard error what could not be read.
pub(crate) fn read(sources: &[Source<'_>], options: RunOptions) -> Result<InputRuns, CliError> {
    let is_by_file = options.block == BlockBy::File;
    let mut collector = RunCollector::new(options);
    let mut faults = InputFaults::default();
    for source in sources {
        if let Some(url) = source.path.to_str().filter(|path| JaegerInput::is_url(path)) {
            collector.begin(source.side, url, &source.attributes);
            faults.add(&read_jaeger(&mut collector, url)?);
            continue;
        }
        let files = trace_files(&[source.path.to_path_buf()])?;
        if is_by_file {
            for file in &files {
                collector.begin(source.side, &name(file), &source.attributes);
                faults.add(&read_into(&mut collector, std::slice::from_ref(file))?);
            }
        } else {
            // The spans of one trace may be in several files.
            collector.begin(source.side, "", &source.attributes);
            faults.add(&read_into(&mut collector, &files)?);
        }
    }
    let (runs, left_out) = collector.finish();
    tell(&left_out);
    Ok(InputRuns {
        runs,
        left_out,
        faults,
    })
}

/// Says on standard error which calls are no runs.
pub(crate) fn tell(left_out: &RunsLeftOut) {
    for (reason, count) in left_out.counts() {
        stderr_line!("baton: left out {} {reason}", counted(count, "call", "calls"));
    }
}

/// The same for programs.
pub(crate) fn left_out_json(left_out: &RunsLeftOut) -> Value {
    json!({
        "without_envelope": left_out.without_envelope,
        "cancelled": left_out.cancelled,
        "old_versions": left_out.old_versions,
    })
}

fn read_into(collector: &mut RunCollector, files: &[PathBuf]) -> Result<ReadSummary, CliError> {
    let summary = progress::read_files(files, &mut |trace| collector.add(&trace))?;
    warn_of_faults(&summary);
    Ok(summary)
}

fn read_jaeger(collector: &mut RunCollector, url: &str) -> Result<ReadSummary, CliError> {
    let input = jaeger_input(url)?;
    let window = jaeger::window(input.since_ns, input.until_ns);
    let found = jaeger::read(&input, window, &mut |trace| collector.add(&trace))?;
    warn_of_faults(&found.summary);
    stderr_line!(
        "baton: {} of {url}, {} to {} ({})",
        counted(found.summary.traces, "trace", "traces"),
        record::time(found.window_ns.start),
        record::time(found.window_ns.end),
        found.search
    );
    Ok(found.summary)
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
