//! `baton flush`: a barrier. Like sync(1) it prints nothing on success.

use baton_proto::metadata::{Failure, FlushResponse};
use baton_trace::text::{counted, printable};

use crate::args::FlushArgs;
use crate::error::CliError;
use crate::logging;
use crate::remote::query_records;

pub(crate) fn main(args: FlushArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let flushed = query_records(args.remote, async |records| {
        Ok(records.flush(args.acknowledge).await?)
    })?;
    if !flushed.upkeep_failure.is_empty() {
        stderr_line!(
            "baton: the exec-server currently cannot remove old records or checkpoint its log, so its database grows: \
             {}",
            printable(&flushed.upkeep_failure)
        );
    }
    if flushed.durable && flushed.in_memory {
        stderr_line!(
            "baton: this exec-server keeps its records in memory (--state none): they are lost when it ends"
        );
    }
    if flushed.durable {
        return Ok(0);
    }
    let dropped = (flushed.dropped > 0).then(|| {
        format!(
            "{} dropped, because the disk accepted no writes for too long; `baton flush --acknowledge {}` acknowledges \
             that",
            counted(flushed.dropped, "record was", "records were"),
            flushed.dropped
        )
    });
    let why: Vec<_> = causes(&flushed).into_iter().chain(dropped).collect();
    Err(CliError::NotFlushed(why.join("; ")))
}

/// The reasons why writing failed.
pub(crate) fn causes(flushed: &FlushResponse) -> Vec<String> {
    let cause = |failure: &Failure| match failure.pending {
        true => format!("{}; the exec-server tries again", printable(&failure.cause)),
        false => printable(&failure.cause).into_owned(),
    };
    flushed.failures.iter().map(cause).collect()
}
