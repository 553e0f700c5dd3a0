//! `baton compare`.

use std::path::PathBuf;

use super::values::{duration, part};

#[derive(clap::Args)]
#[command(after_help = "\
A block is what shares a process or a machine's state: runs of one block are not independent, so whole blocks are
resampled. By default two directories of files are compared file by file: a file is a block, and files of the same name
are a pair. Else a block is a process of the client. If each run has one of its own, as with `baton exec`, and the sides
were recorded in turns, a block is a series of runs of one side, and neighbouring series are a pair.

Exit codes:
  0    no stage became slower
  1    a stage became slower
  3    not enough data: the result says how many blocks are needed
  4    unproven: a control moved, or A differs from itself
  255  Baton failed; a message on standard error states what to do

Example:
  baton compare before/ after/ --control transit")]
pub(crate) struct CompareArgs {
    /// The recording before the change: a file of OTLP/JSON or Jaeger's JSON, a directory of such files, or a Jaeger 2
    /// like http://localhost:16686?since=2026-01-31&until=2026-02-01
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// The recording with the change
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// What a block is: `client` or `server` (a process of it), `file`, or the name of an attribute
    #[arg(long, value_name = "BLOCK")]
    pub(crate) block: Option<String>,
    /// The attribute whose value names the pair of a run
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) pair: Option<String>,
    /// Compare blocks without pairs
    #[arg(long, conflicts_with = "pair")]
    pub(crate) unpaired: bool,
    /// A stage that the change cannot touch: if it moved, the result is unproven; repeatable
    #[arg(long = "control", value_name = "STAGE")]
    pub(crate) controls: Vec<String>,
    /// Report no smaller change, as a part of A
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = part)]
    pub(crate) min_change: f64,
    /// Report no smaller change, as a duration
    #[arg(long, value_name = "DURATION", default_value = "10us", value_parser = duration)]
    pub(crate) min_difference: std::time::Duration,
    /// Compare A with itself first; if it differs, the result is unproven
    #[arg(long)]
    pub(crate) self_check: bool,
    /// Print Markdown, for a comment of CI
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Also the calls that their caller gave up
    #[arg(long)]
    pub(crate) with_cancelled: bool,
    /// Calls of every version, not only of the newest one of each side
    #[arg(long)]
    pub(crate) all_versions: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
