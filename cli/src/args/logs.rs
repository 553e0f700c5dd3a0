//! `baton logs`.

use super::RemoteArgs;
use super::values::{process_id, utf8};

#[derive(clap::Args)]
#[command(after_help = "\
Prints the output that the exec-server still keeps of a command: its standard output to standard output, its standard
error to standard error. Only commands that were started with --grace have any. The command's own client gets all of its
output as if nobody watched.

Exit codes:
  0    the output was printed; with -f, until the command's end
  255  Baton failed; a message on standard error states what to do

Examples:
  baton logs 019a3c5e --tail 20
  baton logs -f 019a3c5e --host worker")]
pub(crate) struct LogsArgs {
    /// Go on with new output until the command's end
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Begin with the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// The command's id, or a prefix of it that no other running command has
    #[arg(value_parser = utf8(process_id))]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
