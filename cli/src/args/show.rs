//! `baton show`.

use super::RemoteArgs;

#[derive(clap::Args)]
#[command(after_help = "\
The stages are those that the exec-server measured, from the arrival of the call to the end of the command. The trace
with the shown id, if it was exported, and files of --trace-json contain all stages.

Example:
  baton show 019a3c5e")]
pub(crate) struct ShowArgs {
    /// The command's id, a prefix of it, or its trace id
    pub(crate) id: String,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
