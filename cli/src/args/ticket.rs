//! `baton ticket` and its subcommand.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum TicketCommand {
    /// Revoke all earlier tickets: the relay refuses dials with them
    Rotate(TicketRotateArgs),
}

#[derive(clap::Args)]
#[command(after_help = "\
Run it on the exec-server's machine, as its user, when a ticket has leaked. Keys, the allow-list and open sessions of
allowed clients stay. Give clients the new ticket, which the exec-server prints or writes as it did the previous one.

The ticket's generation is stored beside the key, in KEY.generation; back it up with the key. Without that file the
first tickets are valid again.

Example:
  baton ticket rotate")]
pub(crate) struct TicketRotateArgs {
    /// The exec-server's key file [default: ~/.config/baton/exec_server_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
