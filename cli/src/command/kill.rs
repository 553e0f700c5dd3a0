//! `baton kill`: a signal to a command that runs. Like kill(1) it prints nothing on success.

use baton_core_client::{Client, ProcessError, ProcessId, Signal};

use super::ps;
use crate::args::KillArgs;
use crate::error::CliError;
use crate::event_json::JsonLines;
use crate::remote::with_client;
use crate::stdio::page_beside;
use crate::table::Terminal;
use crate::{logging, record};

pub(crate) fn main(args: KillArgs) -> Result<i32, CliError> {
    logging::errors_only();
    with_client(args.remote, async |client| {
        let process = resolve(&client, &args.id).await?;
        let signal = args.signal.unwrap_or(Signal::Term);
        client.signal(process, signal).await?;
        if args.json {
            let lines = JsonLines {
                id: Some(process),
                trace_id: None,
            };
            page_beside(lines.signaled(signal)).await?;
        }
        Ok(0)
    })
}

/// The process with this id, or the one whose id begins so.
pub(super) async fn resolve(client: &Client, id: &str) -> Result<ProcessId, CliError> {
    if let Ok(whole) = id.parse() {
        return Ok(whole);
    }
    let mut found = client.processes().await?;
    found.retain(|process| record::hex(&process.process_id).starts_with(id));
    match &found[..] {
        [] => Err(ProcessError::Ended.into()),
        [one] => ProcessId::try_from(&one.process_id[..]).map_err(|_| ProcessError::Ended.into()),
        several => {
            let plain = Terminal {
                width: Terminal::of_stdout().width,
                color: false,
            };
            Err(CliError::Ambiguous {
                name: id.to_owned(),
                several: ps::table(several, plain).trim_end().to_owned(),
            })
        }
    }
}
