//! `baton health`.

use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
With --relay, the relay at this URL must answer. Otherwise the exec-server of the ticket must be registered with its relay. The
check goes through the relay alone: it starts nothing, needs no key, and the exec-server does not hear of it. It takes three
seconds at most.

Exit codes: 0 if healthy, and nothing is printed; 1 if not, and a sentence on stderr says why; 2 if Baton did not understand its own
arguments.

Examples:
  baton health --relay http://127.0.0.1:7700
  baton health --ticket-file ticket")]
pub(crate) struct HealthArgs {
    /// Check this relay
    #[arg(long, value_name = "URL", conflicts_with = "ticket_file")]
    pub(crate) relay: Option<String>,
    /// Check the exec-server of the ticket in this file, as `baton exec-server --ticket-file` wrote it [env: BATON_TICKET or
    /// BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [env: BATON_RELAY_CA] [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
}
