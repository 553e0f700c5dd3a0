//! `baton wait`.

use super::values::{process_id, utf8};
use super::{EXIT_CODES, RemoteArgs};

#[derive(clap::Args)]
#[command(after_help = format!("\
Waits until the command has exited, and prints nothing without --json. Its output stays for its client. A command that has ended is
remembered for some minutes; `baton history` shows older ones.

{EXIT_CODES}

Example:
  baton wait 019a3c5e && echo done"))]
pub(crate) struct WaitArgs {
    /// The command's id, or a prefix of it that no other running command has
    #[arg(value_parser = utf8(process_id))]
    pub(crate) id: String,
    /// Print the exit as one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
