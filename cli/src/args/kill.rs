//! `baton kill`.

use baton_core_client::Signal;

use super::RemoteArgs;
use super::values::{process_id, signal, utf8};

#[derive(clap::Args)]
#[command(after_help = "\
The signal goes to the command's whole process group, at once, whatever the command reads and its client receives. KILL
also goes to its descendants that have left the group. Only commands that this client's key has started can be named.

Examples:
  baton kill 019a3c5e
  baton kill -s HUP 019a3c5e --host worker")]
pub(crate) struct KillArgs {
    /// The signal, by the name that POSIX has for it, like INT, HUP or KILL [default: TERM]
    #[arg(long, short, value_name = "SIG", value_parser = utf8(signal))]
    pub(crate) signal: Option<Signal>,
    /// The command's id, or a prefix of it that no other running command has
    #[arg(value_parser = utf8(process_id))]
    pub(crate) id: String,
    /// Print what was sent as one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
