//! The options of every command that connects to an exec-server.

use std::path::PathBuf;
use std::time::Duration;

use super::values::{connect_timeout, ticket, utf8};

/// Which exec-server, and who we are there.
#[derive(clap::Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct RemoteArgs {
    /// The exec-server's ticket [env: BATON_TICKET]. Here every process of this machine can read it while `baton` runs: the variable, or a file,
    /// keeps it to yourself
    // Not clap's `env`: what is said on the command line must count, whichever of the two variables is set, and an empty one is none.
    #[arg(value_name = "TICKET", value_parser = utf8(ticket))]
    pub(crate) ticket: Option<String>,
    /// Read the ticket from this file, where `baton exec-server --ticket-file` wrote it, or with `-` from the first line of standard input
    /// [env: BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "ticket")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// This client's key file; made at first use [default: ~/.config/baton/client_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [env: BATON_RELAY_CA] [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// How long to try to connect while relay or exec-server are down, restart or are full, like 5s or 2m; 0s is one attempt. What waiting
    /// cannot cure is told at once [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = utf8(connect_timeout))]
    pub(crate) connect_timeout: Option<Duration>,
    /// Do not warn of a relay in clear text, which is otherwise done once for each host
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
