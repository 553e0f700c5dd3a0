//! `baton wait`: the exit of a command that runs. Like wait(1) it exits with the command's code.

use super::kill;
use crate::args::WaitArgs;
use crate::error::CliError;
use crate::logging;
use crate::remote::with_client;

pub(crate) fn main(args: WaitArgs) -> Result<i32, CliError> {
    logging::errors_only();
    with_client(args.remote, async |client| {
        let process = kill::resolve(&client, &args.id).await?;
        Ok(client.wait(process).await?.shell_code())
    })
}
