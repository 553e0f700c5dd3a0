//! `baton wait`: the exit of a command that runs. Like wait(1) it exits with the command's code.

use super::kill;
use crate::args::WaitArgs;
use crate::error::CliError;
use crate::event_json::JsonLines;
use crate::logging;
use crate::remote::with_client;
use crate::stdio::page_beside;

pub(crate) fn main(args: WaitArgs) -> Result<i32, CliError> {
    logging::errors_only();
    with_client(args.remote, async |client| {
        let process = kill::resolve(&client, &args.id).await?;
        let exit = client.wait_for_exit(process).await?;
        if args.json {
            let lines = JsonLines {
                id: Some(process),
                trace_id: exit.trace.map(|trace| trace.trace_id()),
            };
            page_beside(lines.exit(&exit)).await?;
        }
        Ok(exit.status.shell_code())
    })
}
