//! `baton trace` and its subcommand.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum TraceCommand {
    /// Draw the waterfalls of a trace file
    Show(TraceShowArgs),
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton run --quiet --trace-json trace.json -- true && baton trace show trace.json"
)]
pub(crate) struct TraceShowArgs {
    /// A file written by --trace-json
    pub(crate) file: PathBuf,
}
