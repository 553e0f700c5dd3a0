//! `baton attach`: goes on with a command whose client is gone.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use baton_core_client::Client;
use baton_trace::recorder::Recorder;

use super::connection::Connection;
use super::{Ending, Following, Graces, Streams, TerminalUse, close, follow, kill};
use crate::args::AttachArgs;
use crate::error::CliError;
use crate::event_json::JsonLines;
use crate::event_output::{EventForm, EventOutput};
use crate::limits::KILL_GRACE_DEFAULT;
use crate::logging;
use crate::remote::RemoteClient;
use crate::runtime::runtime;
use crate::signals::StopSignals;

pub(crate) fn main(args: AttachArgs) -> Result<i32, CliError> {
    logging::errors_only();
    // As in `exec`.
    let runtime = ManuallyDrop::new(runtime()?);
    let connection = Arc::<Connection>::default();
    let remote = RemoteClient::with_notice(args.remote, Recorder::off(), connection.waiting())?;
    let remote = ManuallyDrop::new(remote);
    let outcome = runtime.block_on(async {
        let form = EventForm {
            json: args.json,
            max_output: args.max_output,
        };
        let outcome = attach(&remote.client, connection, &args.id, args.tty, form).await;
        close(&remote.client, &outcome).await;
        outcome
    });
    let ending = outcome.map_err(|error| remote.explain(error))?;
    ending.exit_code()
}

async fn attach(
    client: &Client,
    connection: Arc<Connection>,
    id: &str,
    uses_terminal: bool,
    form: EventForm,
) -> Result<Ending, CliError> {
    let mut outputs = EventOutput::open(form, JsonLines::default())?;
    let mut stop = StopSignals::new();
    let attaching = async {
        let process = kill::resolve(client, id).await?;
        Ok::<_, CliError>(client.attach(process, 0).await?)
    };
    let (run, stdin) = tokio::select! {
        attached = attaching => attached?,
        signal = stop.next() => return Err(CliError::Interrupted { signal }),
    };
    let run = run.on_recovery(connection.notices());
    let graces = Graces {
        session: run.grace(),
        kill: KILL_GRACE_DEFAULT,
    };
    // Another terminal than the one that the command was started from: its size is sent first.
    let terminal = (uses_terminal && run.has_terminal()).then_some(TerminalUse {
        size: None,
        escapes: true,
    });
    let streams = Streams {
        terminal,
        form,
        ..Streams::PIPES
    };
    outputs.of_process(run.id());
    follow(Following {
        run,
        stdin,
        first: None,
        outputs,
        stop,
        connection,
        graces,
        streams,
    })
    .await
}
