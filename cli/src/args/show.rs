//! `baton show`.

use super::RemoteArgs;

#[derive(clap::Args)]
#[command(after_help = "\
The stages are those that the exec-server measured, from the arrival of the call to the end of the command; the whole way is in the
trace whose id is shown, where it was exported, and in files of --trace-json.

Example:
  baton show 019a3c5e")]
pub(crate) struct ShowArgs {
    /// The command's id or the beginning of it, or its trace id
    pub(crate) id: String,
    /// One JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
