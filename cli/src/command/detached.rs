//! `baton exec --detach`: starts a command that runs without a client.

use baton_core_client::{Client, Command, RecordTo};
use baton_trace::w3c::TraceContext;

use super::{Ending, Graces};
use crate::error::CliError;
use crate::event_json::JsonLines;
use crate::signals::StopSignals;
use crate::stdio::page;

/// Starts it, and prints its id.
pub(super) async fn start(
    client: &Client,
    command: Command,
    graces: Graces,
    json: bool,
    record_to: &RecordTo,
) -> Result<Ending, CliError> {
    let context = TraceContext::from_environment(|name| std::env::var_os(name));
    let command = command.kill_grace(graces.kill).parent(context);
    let mut stop = StopSignals::new();
    let process = tokio::select! {
        started = client.start_detached(command) => {
            started.map_err(|error| CliError::from(error).of_command(false))?
        }
        signal = stop.next() => return Err(CliError::Interrupted { signal }),
    };
    let lines = JsonLines {
        id: Some(process),
        trace_id: record_to.trace_id(),
    };
    page(&match json {
        true => lines.detached(),
        false => format!("{process}\n"),
    })?;
    Ok(Ending::Exited(0))
}
