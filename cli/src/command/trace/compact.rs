//! `baton trace compact`.

use baton_corpus::compact;
use baton_trace::text::counted;

use crate::args::TraceCompactArgs;
use crate::error::CliError;
use crate::stdio::page;

pub(crate) fn main(args: TraceCompactArgs) -> Result<i32, CliError> {
    let done = compact(&args.directory, args.all)?;
    page(&format!(
        "recompressed {} of {}: {} bytes, before {}\n",
        counted(done.segments, "segment", "segments"),
        counted(done.parts, "trace", "traces"),
        done.bytes_after,
        done.bytes_before,
    ))?;
    match done.damaged {
        0 => Ok(0),
        damaged => {
            stderr_line!(
                "baton: {} stay as they are, because a part of them is not readable; `baton trace check` names it",
                counted(damaged, "segment", "segments")
            );
            Ok(1)
        }
    }
}
