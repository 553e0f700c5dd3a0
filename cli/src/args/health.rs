//! `baton health`.

use std::path::PathBuf;

use super::values::{host, utf8};

#[derive(clap::Args)]
#[command(after_help = "\
With --relay, checks that the relay at this URL answers; otherwise, that the exec-server of the ticket is registered
with its relay. The check asks only the relay: it starts nothing, needs no key, and does not notify the exec-server. It
takes at most three seconds.

Exit codes:
  0  healthy; nothing is printed
  1  not healthy; a message on standard error states the reason
  2  invalid arguments

Examples:
  baton health --relay http://127.0.0.1:7700
  baton health --ticket-file ticket")]
pub(crate) struct HealthArgs {
    /// Check this relay
    #[arg(long, value_name = "URL", conflicts_with = "ticket_file")]
    pub(crate) relay: Option<String>,
    /// Check the exec-server of the ticket in this file, which `baton exec-server --ticket-file` writes [env:
    /// BATON_TICKET or BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Check the exec-server that `baton host add` gave this name
    #[arg(long, value_name = "NAME", value_parser = utf8(host), conflicts_with_all = ["relay", "ticket_file"])]
    pub(crate) host: Option<String>,
    /// Verify a relay dialled by https with the certificates of this PEM file only [env: BATON_RELAY_CA] [default: the
    /// system's certificates]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
}
