//! `baton cp`: copies files and trees between this machine and an exec-server's.

mod progress;
mod report;

use baton_core_client::{CopyError, CopyOptions};
use baton_trace::text::printable;

use crate::args::CpArgs;
use crate::copy_place::CopyDirection;
use crate::error::{CliError, NOT_COPIED};
use crate::logging;
use crate::remote::with_client;
use progress::ProgressLine;
use report::Report;

pub(crate) fn main(args: CpArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let options = CopyOptions {
        recursive: args.recursive,
        resume: args.resume,
    };
    let source = printable(&args.source.shown().to_string_lossy()).into_owned();
    let (is_quiet, is_json) = (args.quiet, args.json);
    let (direction, remote) = args.split()?;
    let mut report = Report::new(source.clone(), is_json)?;
    with_client(remote, async |client| {
        let files = client.files();
        let begun = match &direction {
            CopyDirection::Upload { from, to } => files.upload(from, to, options).await,
            CopyDirection::Download { from, to } => files.download(from, to, options).await,
        };
        let mut copy = begun.map_err(|error| failed(&source, error))?;
        let mut line = ProgressLine::new(copy.meter(), is_quiet);
        loop {
            let event = tokio::select! {
                event = copy.next() => event,
                () = line.tick() => {
                    line.draw();
                    continue;
                }
            };
            match event {
                Ok(Some(event)) => report.event(event, &mut line).await?,
                Ok(None) => break,
                Err(error) => return Err(failed(&source, error)),
            }
        }
        let is_complete = report.end(line).await?;
        Ok(if is_complete { 0 } else { NOT_COPIED })
    })
}

/// An error of the whole copy.
fn failed(source: &str, error: CopyError) -> CliError {
    match error.is_of_connection() {
        true => CliError::Copy(error),
        false => CliError::NotCopied {
            from: source.to_owned(),
            error,
        },
    }
}
