//! `baton ps`.

use super::RemoteArgs;

#[derive(clap::Args)]
#[command(after_help = "\
States:
  running   its client reads its output
  detached  its client's connection is lost, and it runs on for its grace (baton exec --grace)
  ending    it was asked to end, and is killed if it does not
  exited    it has exited, and processes that it left behind hold its output or are being killed

Examples:
  baton ps
  baton ps --json --host worker")]
pub(crate) struct PsArgs {
    /// Print one JSON object per line, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
