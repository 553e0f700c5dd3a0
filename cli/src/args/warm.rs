//! `baton warm`.

use baton_core_client::warm::WarmInterval;

use super::RemoteArgs;
use super::values::{interval, thread, utf8};

#[derive(clap::Args)]
#[command(after_help = "\
Runs until it is interrupted. A conversation is a thread: its name is that of `baton exec --thread`. While it runs, its
state is on the exec-server's board, where `baton warm --watch` of the same client key sees it. A command of another
process does not use this session.

With --json each line has the keys conversation, enabled, interval (ms), active, next_warm_at, last_warm_at (ms since
the Unix epoch, or null), last_result (ok, hit_percent, error; or null) and history (at, trigger, duration_ms, result).
When a conversation ends, `enabled` and all others but `conversation` are null, and `history` is empty.

Exit codes:
  0    interrupted by Ctrl-C or another stop signal
  2    invalid arguments
  255  the exec-server was not reached, or has no board to watch; a message on standard error states what to do

Examples:
  baton warm --conversation release-42 --interval 20s
  baton warm --watch --no-keep --json | jq .next_warm_at")]
pub(crate) struct WarmArgs {
    /// The conversation that the session is kept warm for; with --no-keep, watch only this one [default: a new name;
    /// with --no-keep all]
    #[arg(long, value_name = "ID", value_parser = utf8(thread))]
    pub(crate) conversation: Option<String>,
    /// Time between two warms, from 100ms to 7d [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = utf8(interval))]
    pub(crate) interval: Option<WarmInterval>,
    /// Show every conversation of this client key, not only the own one
    #[arg(long)]
    pub(crate) watch: bool,
    /// With --watch, keep nothing warm
    #[arg(long, requires = "watch", conflicts_with = "interval")]
    pub(crate) no_keep: bool,
    /// Print one JSON object per change, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
