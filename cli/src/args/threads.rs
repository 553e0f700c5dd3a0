//! `baton threads`.

use super::{ListArgs, RemoteArgs};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton threads --json")]
pub(crate) struct ThreadsArgs {
    /// List archived threads instead
    #[arg(long)]
    pub(crate) archived: bool,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
