//! `baton trace show`.

use baton_trace::export::read;

use crate::args::TraceShowArgs;
use crate::error::CliError;
use crate::terminal;

pub(crate) fn main(args: TraceShowArgs) -> Result<i32, CliError> {
    for record in read::read_file(&args.file)? {
        terminal::draw(&record, std::io::stdout());
    }
    Ok(0)
}
