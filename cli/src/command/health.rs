//! `baton health`: a health check for container engines, service managers and users.

use baton_channel::{check_exec_server, check_relay};

use crate::args::HealthArgs;
use crate::error::CliError;
use crate::runtime::runtime;
use crate::{relay_connection, remote};

/// The exit code of a failed health check; container engines define only this one.
const UNHEALTHY: i32 = 1;

pub(crate) fn main(args: HealthArgs) -> Result<i32, CliError> {
    match check(args) {
        Ok(()) => Ok(0),
        Err(error) => {
            stderr_line!("baton: {error}");
            Ok(UNHEALTHY)
        }
    }
}

fn check(args: HealthArgs) -> Result<(), CliError> {
    let roots = relay_connection::roots(args.relay_ca.as_deref())?;
    let runtime = runtime()?;
    if let Some(url) = args.relay {
        return Ok(runtime.block_on(check_relay(&url, roots))?);
    }
    let ticket = remote::ticket(None, args.ticket_file, args.host, |name| std::env::var_os(name));
    let ticket = match ticket {
        Err(CliError::NoTicket) => return Err(CliError::NothingToCheck),
        ticket => ticket?,
    };
    Ok(runtime.block_on(check_exec_server(&ticket, roots))?)
}
