//! `baton trace` and its subcommands.

use std::path::PathBuf;

use baton_trace::TraceId;
use clap::Subcommand;

use super::values::{trace_id, utf8};

#[derive(Subcommand)]
pub(crate) enum TraceCommand {
    /// Draw the waterfalls of a trace file
    Show(TraceShowArgs),
    /// Check that traces are complete, and that every span is in its place
    Check(TraceCheckArgs),
    /// Recompress the closed segments of a corpus (--trace-dir); commands do so in the background as segments fill up
    Compact(TraceCompactArgs),
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton run --quiet --trace-json trace.json -- true && baton trace show trace.json\n  \
                  baton trace show traces --id 4bf92f3577b34da6a3ce929d0e0e4736"
)]
pub(crate) struct TraceShowArgs {
    /// A file written by --trace-json, or a directory written by --trace-dir
    #[arg(value_name = "FILE|DIR")]
    pub(crate) file: PathBuf,
    /// Only the trace with this id, 32 hexadecimal digits
    #[arg(long, value_name = "TRACE_ID", value_parser = utf8(trace_id))]
    pub(crate) id: Option<TraceId>,
}

#[derive(clap::Args)]
#[command(after_help = "\
Exit codes:
  0    done
  1    a segment stays as it is, because a part of it is not readable
  255  Baton failed; a message on standard error states what to do

Example:
  baton trace compact --all traces && tar -cf traces.tar traces")]
pub(crate) struct TraceCompactArgs {
    /// The directory of --trace-dir
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Also close and recompress the segment that commands append to; the next one begins a new segment
    #[arg(long)]
    pub(crate) all: bool,
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
    /// Files of OTLP/JSON or Jaeger's JSON, directories of such files, or directories of --trace-dir
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The traces are of calls that still run: check neither parents, counts nor the critical path
    #[arg(long)]
    pub(crate) partial: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}
