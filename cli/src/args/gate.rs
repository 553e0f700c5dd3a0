//! `baton gate`.

use std::path::PathBuf;

use super::HistoryInputArgs;
use super::values::{check, since};

#[derive(clap::Args)]
#[command(after_help = "\
The rules are TOML; --example prints some, with comments. They name every outcome and its exit code.

Exit codes:
  those of the rules, from 0 to 125
  2    invalid arguments
  255  Baton failed, or the rules are wrong; a message on standard error states what to do

Example:
  baton gate --example >rules.toml && baton gate rules.toml traces/")]
pub(crate) struct GateArgs {
    /// The rules
    #[arg(value_name = "RULES.toml", required_unless_present = "example")]
    pub(crate) rules: Option<PathBuf>,
    /// Files of OTLP/JSON or Jaeger's JSON, directories of such files, or a Jaeger 2 like
    /// http://localhost:16686?since=2026-01-31; SET=PATH says that its runs are of this set
    #[arg(
        value_name = "[SET=]FILE|DIR",
        required_unless_present_any = ["example", "history"],
        conflicts_with = "history"
    )]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) history: HistoryInputArgs,
    /// Print rules to begin with
    #[arg(long, exclusive = true)]
    pub(crate) example: bool,
    /// A correctness check that ran beside the recording; repeatable
    #[arg(long = "check", value_name = "NAME=passed|failed", value_parser = check)]
    pub(crate) checks: Vec<(String, bool)>,
    /// When the window of the population ends: an age, a date or a time; by default when the newest run began
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(crate) now: Option<u64>,
    /// What a block is: `client` or `server` (a process of it), `file`, or the name of an attribute; files of the same
    /// name in several sets are a pair. From the history: the thread, or an attribute
    #[arg(long, value_name = "BLOCK", default_value = "client")]
    pub(crate) block: String,
    /// The attribute whose value names the pair of a run
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) pair: Option<String>,
    /// Write the verdict to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) verdict: Option<PathBuf>,
    /// Also the calls that their caller gave up
    #[arg(long)]
    pub(crate) with_cancelled: bool,
    /// Calls of every version, not only of the newest one of each input
    #[arg(long)]
    pub(crate) all_versions: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
