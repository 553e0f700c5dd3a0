//! `baton host` and its subcommands.

use clap::Subcommand;

use super::values::{host, utf8};

#[derive(Subcommand)]
pub(crate) enum HostCommand {
    /// Name an exec-server, so that `--host NAME` selects it
    Add(HostAddArgs),
    /// List the names
    List(HostListArgs),
    /// Forget a name; its exec-server is not told
    Remove(HostRemoveArgs),
}

#[derive(clap::Args)]
#[command(after_help = "\
The ticket is stored in ~/.config/baton/hosts.toml, which only you can read. A name keeps its exec-server's key: a ticket
with the same key replaces the earlier one (after `baton ticket rotate`), one with another key is refused.

Examples:
  baton host add worker - <ticket
  baton exec --host worker -- uname -a")]
pub(crate) struct HostAddArgs {
    /// The name: letters, digits, `.`, `_` and `-`
    #[arg(value_parser = utf8(host))]
    pub(crate) name: String,
    /// The exec-server's ticket, or `-` for the first line of standard input. On the command line every process of this
    /// machine can read it while `baton` runs
    pub(crate) ticket: String,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton host list")]
pub(crate) struct HostListArgs {
    /// Print one JSON document per name
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton host remove worker")]
pub(crate) struct HostRemoveArgs {
    /// The name
    #[arg(value_parser = utf8(host))]
    pub(crate) name: String,
}
