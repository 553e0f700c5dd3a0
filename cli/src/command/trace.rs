//! `baton trace show`.

use baton_export::read;

use crate::args::TraceShowArgs;
use crate::error::CliError;
use crate::stdio::page;
use crate::terminal::drawn;

pub(crate) fn main(args: TraceShowArgs) -> Result<i32, CliError> {
    for record in read::read_file(&args.file)? {
        page(&drawn(&record, &std::io::stdout()))?;
    }
    Ok(0)
}
