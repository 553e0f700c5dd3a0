//! `baton thread` and its subcommands.

use clap::Subcommand;

use super::RemoteArgs;
use super::values::{any_text, key_value, thread, title, utf8};

#[derive(Subcommand)]
pub(crate) enum ThreadCommand {
    /// Show its title, its metadata, and the repository that its last command ran in
    Show(ThreadShowArgs),
    /// Change its title and metadata
    Set(ThreadSetArgs),
    /// Hide it from `baton threads` until it is used again
    Archive(ThreadArchiveArgs),
    /// Delete its title and metadata; the commands stay in the history
    Delete(ThreadDeleteArgs),
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton thread show release-42")]
pub(crate) struct ThreadShowArgs {
    /// The thread
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton thread set release-42 --title 'Release 42' --meta owner=alice --remove draft"
)]
pub(crate) struct ThreadSetArgs {
    /// The thread; created if it does not exist
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    /// Its title; an empty one removes it
    #[arg(long, value_parser = utf8(title))]
    pub(crate) title: Option<String>,
    /// Set a key of its metadata; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = utf8(key_value))]
    pub(crate) meta: Vec<(String, String)>,
    /// Remove a key of its metadata; repeatable
    #[arg(long, value_name = "KEY", value_parser = utf8(any_text))]
    pub(crate) remove: Vec<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton thread archive release-42")]
pub(crate) struct ThreadArchiveArgs {
    /// The thread
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    /// Show it again
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton thread delete release-42")]
pub(crate) struct ThreadDeleteArgs {
    /// The thread
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
