//! The options of every command that connects to an exec-server.

use std::path::PathBuf;
use std::time::Duration;

use super::values::{connect_timeout, host, ticket, utf8};

/// The exec-server, and this client's key.
#[derive(clap::Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct RemoteArgs {
    /// The exec-server's ticket [env: BATON_TICKET]. On the command line every process of this machine can read it
    /// while `baton` runs; prefer the variable or --ticket-file
    // Not clap's `env`: the command line takes precedence over both variables, and an empty variable counts as unset.
    #[arg(value_name = "TICKET", value_parser = utf8(ticket))]
    pub(crate) ticket: Option<String>,
    /// Read the ticket from this file, which `baton exec-server --ticket-file` writes, or with `-` from the first line
    /// of standard input [env: BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "ticket")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// The exec-server that `baton host add` gave this name
    #[arg(long, value_name = "NAME", value_parser = utf8(host), conflicts_with_all = ["ticket", "ticket_file"])]
    pub(crate) host: Option<String>,
    /// This client's key file; created at first use [default: ~/.config/baton/client_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Verify a relay dialled by https with the certificates of this PEM file only [env: BATON_RELAY_CA] [default: the
    /// system's certificates]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Retry connecting for this long while the relay or the exec-server is down, restarts or is full, like 5s or 2m;
    /// 0s is one attempt. Errors that a retry cannot resolve are reported at once [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = utf8(connect_timeout))]
    pub(crate) connect_timeout: Option<Duration>,
    /// Do not warn about a relay without TLS; without this option the warning appears once per host
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
