//! `baton attach`: goes on with a command whose client is gone.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use baton_core_client::Client;
use baton_trace::recorder::Recorder;

use super::connection::Connection;
use super::{Graces, follow, kill};
use crate::args::AttachArgs;
use crate::error::CliError;
use crate::limits::KILL_GRACE_DEFAULT;
use crate::logging;
use crate::output::OutputStreams;
use crate::remote::RemoteClient;
use crate::runtime::runtime;
use crate::signals::StopSignals;

pub(crate) fn main(args: AttachArgs) -> Result<i32, CliError> {
    logging::errors_only();
    // As in `exec`.
    let runtime = ManuallyDrop::new(runtime()?);
    let remote = ManuallyDrop::new(RemoteClient::new(args.remote, Recorder::off())?);
    let outcome = runtime.block_on(async {
        let outcome = attach(&remote.client, &args.id).await;
        remote.client.close().await;
        outcome
    });
    outcome.map_err(|error| remote.explain(error))
}

async fn attach(client: &Client, id: &str) -> Result<i32, CliError> {
    let outputs = OutputStreams::open()?;
    let mut stop = StopSignals::new();
    let connection = Arc::<Connection>::default();
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
    follow(run, stdin, outputs, stop, &connection, graces).await
}
