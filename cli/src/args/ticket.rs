//! `baton ticket` and its subcommand.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum TicketCommand {
    /// Make every ticket from before worthless: the relay refuses to dial with it
    Rotate(TicketRotateArgs),
}

#[derive(clap::Args)]
#[command(after_help = "\
Run it on the exec-server's machine, as its user, when a ticket has leaked. Keys and allow-list stay as they are, and so do sessions of allowed
clients that are open. Give clients the new ticket, which the exec-server tells where it told the one before.

The generation of the ticket is kept beside the key, in KEY.generation; back it up with the key. Without that file the first tickets are valid
again.

Example:
  baton ticket rotate")]
pub(crate) struct TicketRotateArgs {
    /// The exec-server's key file [default: ~/.config/baton/exec_server_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
