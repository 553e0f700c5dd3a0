//! `baton keygen`.

use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton keygen ci_key\n  baton keygen --public ci_key")]
pub(crate) struct KeygenArgs {
    /// Make nothing: print the public line of the key that is there
    #[arg(long)]
    pub(crate) public: bool,
    /// Where to write the key; an existing file is never overwritten [default: ~/.config/baton/client_key]
    pub(crate) file: Option<PathBuf>,
}
