//! `baton history`.

use baton_trace::outcome::{Fault, OutcomeKind};

use super::values::{fault, outcome, since, step, thread, turn, utf8};
use super::{ListArgs, RemoteArgs};

#[derive(clap::Args)]
#[command(after_help = "\
On a terminal, columns that do not fit are omitted and long names are cut; --json has all. Without a terminal nothing
is omitted or cut.

Examples:
  baton history --failed --since 1d
  baton history --fault command,limit
  baton history --thread release-42 --turn 3
  baton history --thread release-42 --turn 3 --step build --json")]
pub(crate) struct HistoryArgs {
    /// Only commands of this thread
    #[arg(long, value_name = "T", value_parser = utf8(thread))]
    pub(crate) thread: Option<String>,
    /// Only commands of this turn, in whatever thread unless --thread is given
    #[arg(long, value_name = "N", value_parser = utf8(turn))]
    pub(crate) turn: Option<u64>,
    /// Only commands of this step, in whatever thread and turn unless these are given
    #[arg(long, value_name = "ID", value_parser = utf8(step))]
    pub(crate) step: Option<String>,
    /// Only commands started since this time: an age like 90s, 15m, 1h or 2d, a date like 2026-01-31 (local midnight),
    /// or a time like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = utf8(since))]
    pub(crate) since: Option<u64>,
    /// Only commands that did not exit with 0, and that their caller did not cancel
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only commands with this outcome: exited, signaled, timed_out, out_of_memory, killed, failed_to_start or lost;
    /// repeatable, or a comma-separated list
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = utf8(outcome))]
    pub(crate) outcome: Vec<OutcomeKind>,
    /// Only commands that did not exit with 0 because of the caller, the command, a limit, the network or the server;
    /// repeatable, or a comma-separated list
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = utf8(fault))]
    pub(crate) fault: Vec<Fault>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
