//! One file a subcommand.

pub(crate) mod exec;
pub(crate) mod exec_server;
pub(crate) mod flush;
pub(crate) mod history;
pub(crate) mod keygen;
pub(crate) mod relay;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod thread;
pub(crate) mod threads;
pub(crate) mod trace;

use baton_client::{Client, Command, Event, RunError};
use baton_trace::record::CallRecord;
use baton_trace::w3c::TraceContext;

use crate::error::CliError;
use crate::signals;
use crate::stdio::{Output, forward};

/// A runtime on this thread. One thread, because a wake-up across cores costs more than the work it would share.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Runs one command with our own standard streams, and returns its exit code and what was measured.
async fn run_here(client: &Client, command: Command) -> Result<(i32, Option<CallRecord>), CliError> {
    let (stdout, stderr) = (Output::stdout()?, Output::stderr()?);
    // The trace that our caller is in, by our environment. Malformed variables start a new one.
    let command = command.parent(TraceContext::from_environment(|name| std::env::var_os(name)));
    let stop = signals::stop();
    tokio::pin!(stop);
    let (mut run, stdin) = tokio::select! {
        started = client.start(command) => started?,
        signal = &mut stop => return Err(CliError::Interrupted { signal }),
    };
    let forwarding = tokio::spawn(forward(stdin));
    let mut code = None;
    loop {
        let event = tokio::select! {
            event = run.next() => event?,
            // Dropping the run kills the command.
            signal = &mut stop => return Err(CliError::Interrupted { signal }),
        };
        match event {
            Some(Event::Started { .. }) => {}
            Some(Event::Stdout(data)) => stdout.write(data).await?,
            Some(Event::Stderr(data)) => stderr.write(data).await?,
            Some(Event::Exited { status, .. }) => code = Some(status.shell_code()),
            Some(Event::Closed { truncated }) => {
                if truncated {
                    tell!(
                        "baton: a background process still holds the command's output; what it writes is not shown"
                    );
                }
            }
            None => break,
        }
    }
    forwarding.abort();
    let code = code.ok_or(RunError::Protocol("closed before it exited"))?;
    Ok((code, run.record().await))
}
