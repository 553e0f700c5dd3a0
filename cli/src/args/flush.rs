//! `baton flush`.

use super::RemoteArgs;

#[derive(clap::Args)]
#[command(after_help = "\
Prints nothing when all is well. Records of this client that were given up because the disk took none for too long are told by each
flush, until --acknowledge takes note of them; other clients are told of theirs.

Exit codes: 0 if everything is on disk (or in memory, with exec-server --state none, which is said); 255 if not, and a sentence says why.

Example:
  baton exec -- make release && baton flush")]
pub(crate) struct FlushArgs {
    /// Take note of so many of this client's records that were given up: from now on only later ones are told
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) acknowledge: u64,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}
