//! `baton keygen`.

use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton keygen ci_key\n  baton keygen --public ci_key")]
pub(crate) struct KeygenArgs {
    /// Print the public line of an existing key instead of creating one
    #[arg(long)]
    pub(crate) public: bool,
    /// The key file; an existing file is never overwritten [default: ~/.config/baton/client_key]
    pub(crate) file: Option<PathBuf>,
}
