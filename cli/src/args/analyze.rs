//! `baton analyze`.

use std::path::PathBuf;

use baton_analyze::analysis::{By, Filter, WhatIf};
use baton_analyze::jaeger_search::JaegerInput;

use super::HistoryInputArgs;
use super::values::{analyze_filter, jaeger, moment};

/// A time: absolute, or an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nanoseconds since the Unix epoch.
    At(u64),
    /// Nanoseconds before `--now`.
    Ago(u64),
}

/// How calls are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ByArg {
    /// One table of stages
    Stage,
    /// The turn of the caller's loop
    Turn,
    /// The host of the exec-server
    Host,
    /// The label of the command, else its program
    Label,
    /// The version of Baton
    Version,
    /// The error type
    Fault,
}

impl From<ByArg> for By {
    fn from(by: ByArg) -> Self {
        match by {
            ByArg::Stage => Self::Stage,
            ByArg::Turn => Self::Turn,
            ByArg::Host => Self::Host,
            ByArg::Label => Self::Label,
            ByArg::Version => Self::Version,
            ByArg::Fault => Self::Fault,
        }
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
Columns:
  n          calls that have the stage
  self       its median without its child stages
  share      its time over the whole calls
  path       its own time on the critical path over the whole calls
  exemplar   the id of a trace that stands for p99

Calls that their caller gave up and calls of older versions do not count; their numbers are shown. Percentiles are exact
up to 10,000 calls, and within 1 % above.

Exit codes:
  0    an answer
  1    the traces do not support an answer; a message on standard error says why
  255  Baton failed; a message on standard error states what to do

Example:
  baton run --quiet --trace-json trace.json -- true && baton analyze trace.json")]
pub(crate) struct AnalyzeArgs {
    /// Files of OTLP/JSON or Jaeger's JSON, or directories of such files
    #[arg(
        required_unless_present_any = ["history", "jaeger"],
        conflicts_with_all = ["history", "jaeger"],
        value_name = "FILE|DIR"
    )]
    pub(crate) inputs: Vec<PathBuf>,
    /// Read the traces of a Jaeger 2 by its query API, like http://localhost:16686: those with a span of the service
    /// baton-client, or of `?service=NAME`. Without --since and --until, of the last hour
    #[arg(long, value_name = "URL", value_parser = jaeger, conflicts_with = "history")]
    pub(crate) jaeger: Option<JaegerInput>,
    #[command(flatten)]
    pub(crate) history: HistoryInputArgs,
    /// Also divide the calls into groups
    #[arg(long, value_enum, default_value = "stage")]
    pub(crate) by: ByArg,
    /// Only calls with this value of an attribute, or of turn, host, label, version or fault; repeatable
    #[arg(long = "where", value_name = "NAME=VALUE", value_parser = analyze_filter)]
    pub(crate) filters: Vec<Filter>,
    /// Only calls that began since this time: an age before --now like 15m or 7d, a date like 2026-01-31 (local
    /// midnight), or a time like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Only calls that began before this time
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) until: Option<Moment>,
    /// What ages are relative to [default: the newest call; the input is then read twice]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) now: Option<Moment>,
    /// Count the calls of every version, not only of the newest
    #[arg(long)]
    pub(crate) all_versions: bool,
    /// Count also the calls that their caller gave up
    #[arg(long)]
    pub(crate) with_cancelled: bool,
    /// The input is a sample, or incomplete: calls count by their sampling probability (`ot=th` in tracestate), and
    /// traces that lack spans are left out
    #[arg(long, conflicts_with = "history")]
    pub(crate) weighted: bool,
    /// Show the whole call as it would be with a stage changed, like process.spawn=-5ms or transit=-20%; repeatable
    #[arg(long, value_name = "STAGE=CHANGE", value_parser = str::parse::<WhatIf>, conflicts_with = "history")]
    pub(crate) what_if: Vec<WhatIf>,
    /// Show calls that repeat an earlier one of their turn (the same method, arguments and directory), and their time
    #[arg(long, conflicts_with = "history")]
    pub(crate) repeats: bool,
    /// Print one JSON object, for programs; times in nanoseconds
    #[arg(long)]
    pub(crate) json: bool,
}
