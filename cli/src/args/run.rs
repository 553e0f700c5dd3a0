//! `baton run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{flush_timeout, label, one_of, timeout, utf8};
use super::{EXIT_CODES, WaterfallDetail};

#[derive(clap::Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  baton run --trace-json trace.json -- make test\n  baton run --quiet --trace-dir traces -- make test"))]
pub(crate) struct RunArgs {
    /// Do not draw the waterfall
    #[arg(long, short, conflicts_with = "trace")]
    pub(crate) quiet: bool,
    /// Draw the whole waterfall, or with --trace=brief at most ten rows of it [default: full]
    #[arg(long, value_name = "HOW", value_parser = one_of::<WaterfallDetail>(), num_args = 0..=1, require_equals = true, default_missing_value = "full")]
    pub(crate) trace: Option<WaterfallDetail>,
    /// Append every stage as OTLP/JSON to this file; at 16 MiB it is renamed to FILE.1 and a new file is created
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_json: Option<PathBuf>,
    /// Append every stage to a corpus of traces in this directory, compressed; it is made if it does not exist. `baton
    /// analyze DIR` and `baton trace show DIR` read it
    #[arg(long, value_name = "DIR")]
    pub(crate) trace_dir: Option<PathBuf>,
    /// Working directory of the command
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Name of the command in traces, instead of its program; of low cardinality, like `build`
    #[arg(long, value_parser = utf8(label))]
    pub(crate) label: Option<String>,
    /// Kill the command if it has not ended after this time, like 90s or 15m
    #[arg(long, value_name = "TIME", value_parser = utf8(timeout))]
    pub(crate) timeout: Option<Duration>,
    /// Wait at most this long for the collector at the end, like 2s; a later run sends the rest [default: 50ms; 2s if
    /// CI is set]
    #[arg(long, value_name = "TIME", value_parser = utf8(flush_timeout))]
    pub(crate) flush_timeout: Option<Duration>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}
