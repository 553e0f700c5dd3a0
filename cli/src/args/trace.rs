//! `baton trace` and its subcommands.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum TraceCommand {
    /// Draw the waterfalls of a trace file
    Show(TraceShowArgs),
    /// Check that traces are complete, and that every span is in its place
    Check(TraceCheckArgs),
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton run --quiet --trace-json trace.json -- true && baton trace show trace.json"
)]
pub(crate) struct TraceShowArgs {
    /// A file written by --trace-json
    pub(crate) file: PathBuf,
}

#[derive(clap::Args)]
#[command(after_help = "\
Finds:
  orphan, count               a missing parent; another number of stages than the call announces
  outside_parent              a stage outside of its parent by more than the clocks explain
  touching, overlapping, zero_length  exported sibling stages that Jaeger's critical path would leave out
  critical_path               awaited time that is not on the critical path
  missing_resource_attribute  service.name, service.version, service.instance.id or host.id
  private                     arguments or environment variables of a command in an attribute
  shared_id, backwards        two spans with one id; a span that ends before it starts

Exit codes:
  0    no fault
  1    a fault, or a part of the input that is not readable
  255  Baton failed; a message on standard error states what to do

Example:
  baton run --quiet --trace-json trace.json -- true && baton trace check trace.json")]
pub(crate) struct TraceCheckArgs {
    /// Files of OTLP/JSON or Jaeger's JSON, or directories of such files
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The traces are of calls that still run: check neither parents, counts nor the critical path
    #[arg(long)]
    pub(crate) partial: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
