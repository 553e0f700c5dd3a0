//! `baton compare`.

use std::path::Path;

use baton_analyze::compare::{Options, compare};
use baton_analyze::read::{is_segment, trace_files};
use baton_analyze::runs::{BlockBy, RunOptions, block_by_alternation};

use super::runs::{Source, block, left_out_json, read};
use crate::args::CompareArgs;
use crate::error::CliError;
use crate::record::line;
use crate::stdio::page;
use crate::terminal::is_ascii_locale;

pub(crate) fn main(args: CompareArgs) -> Result<i32, CliError> {
    let by = match &args.block {
        Some(name) => block(name),
        None if args.pair.is_none() && is_recorded_in_files(&args.a)? && is_recorded_in_files(&args.b)? => {
            BlockBy::File
        }
        None => BlockBy::Client,
    };
    let runs = |side: &str, path: &Path| {
        let source = Source {
            side,
            path,
            attributes: Vec::new(),
        };
        let options = RunOptions {
            block: by.clone(),
            pair: args.pair.clone(),
            attributes: Vec::new(),
            with_cancelled: args.with_cancelled,
            all_versions: args.all_versions,
        };
        read(&[source], options)
    };
    let (of_a, of_b) = (runs("A", &args.a)?, runs("B", &args.b)?);
    let (mut a, mut b) = (of_a.runs, of_b.runs);
    if args.block.is_none() && args.pair.is_none() && !args.unpaired && block_by_alternation(&mut a, &mut b) {
        stderr_line!(
            "baton: each run has a client process of its own, so a block is a series of runs of one side (--block client \
             makes each run one)"
        );
    }
    let options = Options {
        controls: args.controls,
        floor_relative: args.min_change,
        floor_ns: args.min_difference.as_nanos() as f64,
        unpaired: args.unpaired,
        self_check: args.self_check,
        ..Options::default()
    };
    let comparison = compare(&a, &b, &options)?.with_faults([of_a.faults, of_b.faults]);
    page(&match () {
        () if args.json => {
            let mut json = comparison.json();
            json["a"]["not_counted"] = left_out_json(&of_a.left_out);
            json["b"]["not_counted"] = left_out_json(&of_b.left_out);
            line(&json)
        }
        () if args.markdown => comparison.markdown(),
        () => comparison.text(is_ascii_locale()),
    })?;
    Ok(comparison.verdict.exit_code())
}

/// Whether it is a directory of several files, one for each block. Segments of a corpus are rotated by size.
fn is_recorded_in_files(path: &Path) -> Result<bool, CliError> {
    if !path.is_dir() {
        return Ok(false);
    }
    let files = trace_files(&[path.to_path_buf()])?;
    Ok(files.len() > 1 && !files.iter().any(|file| is_segment(file)))
}
