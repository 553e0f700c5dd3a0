//! `baton flush`.

use super::RemoteArgs;

#[derive(clap::Args)]
#[command(after_help = "\
Prints nothing if everything is on disk. Each flush reports the records of this client that were dropped because the
disk accepted no writes for too long, until --acknowledge. It does not report other clients' records.

Exit codes:
  0    everything is on disk, or in memory with exec-server --state none, which is reported
  255  not everything is on disk; a message on standard error states the reason

Example:
  baton exec -- make release && baton flush")]
pub(crate) struct FlushArgs {
    /// Acknowledge this many dropped records of this client, so that later flushes report only further ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) acknowledge: u64,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
