//! `baton logs`.

use super::RemoteArgs;
use super::values::{process_id, since, utf8};

#[derive(clap::Args)]
#[command(after_help = "\
Prints the output that the exec-server still keeps of a command: its standard output to standard output, its standard
error to standard error. Of a command that was started with --grace 0s none is kept. The command's own client gets all
of its output as if nobody watched.

Exit codes:
  0    the output was printed; with -f, until the command's end
  255  Baton failed; a message on standard error states what to do

Examples:
  baton logs 019a3c5e --tail 20
  baton logs 019a3c5e --since 5m
  baton logs -f 019a3c5e --host worker")]
pub(crate) struct LogsArgs {
    /// Go on with new output until the command's end
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Begin with the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Only output since this time: an age like 90s or 15m, a date like 2026-01-31, or a time like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = utf8(since))]
    pub(crate) since: Option<u64>,
    /// The command's id, or a prefix of it that no other running command has
    #[arg(value_parser = utf8(process_id))]
    pub(crate) id: String,
    /// Print every event as one JSON object per line, for programs; --tail then counts lines of output too
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
