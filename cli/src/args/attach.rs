//! `baton attach`.

use super::values::{max_output, process_id, utf8};
use super::{EXIT_CODES, RemoteArgs};

#[derive(clap::Args)]
#[command(after_help = format!("\
Prints the command's output from the first byte that the exec-server still keeps, and goes on with its standard input
where the command took it. The same client key can attach to any command but those started with --grace 0s. A
`baton exec` that is attached to it ends; the command goes on.

{EXIT_CODES}

Example:
  baton exec --grace 10m -- make release    # the laptop sleeps, and baton gives up
  baton ps
  baton attach 019a3c5e
  baton attach -t 019a3c5f                  # a shell of `baton exec -t --grace 10m`"))]
pub(crate) struct AttachArgs {
    /// The command's id, or a prefix of it that no other running command has
    #[arg(value_parser = utf8(process_id))]
    pub(crate) id: String,
    /// Use your terminal as `exec -t` does, if the command has one
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Print every event as one JSON object per line, for programs, in place of the output
    #[arg(long, conflicts_with = "tty")]
    pub(crate) json: bool,
    /// Print at most this much output, like 64KiB: its first half and its last half, when the command ends
    #[arg(long, value_name = "BYTES", value_parser = utf8(max_output), conflicts_with = "tty")]
    pub(crate) max_output: Option<usize>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
