//! One command on a remote machine, from the command line to its exit code.

use std::io::{self, IsTerminal as _};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use baton_core_client::{Command, RecordTo};
use baton_trace::record::Side;

use super::connection::Connection;
use super::{Graces, Streams, TerminalUse, close, detached, run_attached, show_trace};
use crate::args::{RemoteArgs, WaterfallDetail};
use crate::error::CliError;
use crate::event_json::JsonLines;
use crate::exporters::Exporters;
use crate::remote::RemoteClient;
use crate::runtime::runtime;
use crate::stdio::page;
use crate::trace_outputs::TraceOutputs;
use crate::window;

/// A command that is ready to run.
pub(super) struct Execution {
    pub(super) command: Command,
    pub(super) remote: RemoteArgs,
    pub(super) graces: Graces,
    pub(super) streams: Streams,
    /// It runs without a client.
    pub(super) is_detached: bool,
    pub(super) traces: TraceOutputs,
    pub(super) drawing: Option<WaterfallDetail>,
    pub(super) flush_timeout: Option<Duration>,
}

impl Execution {
    /// Runs it, and returns the exit code.
    pub(super) fn execute(self) -> Result<i32, CliError> {
        let Self {
            mut command,
            remote,
            graces,
            streams,
            is_detached,
            traces,
            drawing,
            flush_timeout,
        } = self;
        let mut exporting = Exporters::of_command();
        let recorder = exporting.start(Side::Client)?;
        let (record_to, mut record) = RecordTo::channel();
        let json = streams.form.json;
        if drawing.is_some() || !traces.is_empty() || json {
            command = command.record_to(record_to.clone());
        }
        // The process ends after this function. Dropping these would only delay the exit. The kernel clears the memory,
        // keys included, before another process gets it.
        let runtime = ManuallyDrop::new(runtime()?);
        let connection = Arc::<Connection>::default();
        let remote = RemoteClient::with_notice(remote, recorder, connection.waiting())?;
        let remote = ManuallyDrop::new(remote);
        let outcome = runtime.block_on(async {
            let outcome = match is_detached {
                true => detached::start(&remote.client, command, graces, json, &record_to).await,
                false => {
                    let (client, record_to) = (&remote.client, Some(record_to));
                    run_attached(client, connection, command, graces, streams, record_to).await
                }
            };
            close(&remote.client, &outcome).await;
            outcome
        });
        exporting.finish(&runtime, flush_timeout);
        let record = record.try_recv().ok();
        show_trace(record.as_ref(), traces, drawing);
        let ending = outcome.map_err(|error| remote.explain(error));
        if json && let Err(error) = &ending {
            let command = record.and_then(|record| record.command);
            let outcome = command.map(|command| command.outcome);
            page(&JsonLines::default().failed(error, outcome))?;
        }
        ending?.exit_code()
    }
}

/// What is asked for of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TerminalWish {
    None,
    /// If standard input is a terminal; with a line on standard error if it is not and `tells`.
    IfLocal {
        tells: bool,
    },
    Always,
}

impl TerminalWish {
    /// The terminal that the command gets.
    pub(super) fn granted(self, escapes: bool) -> Option<TerminalUse> {
        let is_granted = match self {
            Self::None => false,
            Self::Always => true,
            Self::IfLocal { tells } => {
                let is_local = io::stdin().is_terminal();
                if !is_local && tells {
                    stderr_line!(
                        "baton: the command gets no terminal, because standard input is none; -tt gives it one anyway"
                    );
                }
                is_local
            }
        };
        is_granted.then(|| TerminalUse {
            size: Some(window::size()),
            escapes,
        })
    }
}

/// The command with this terminal. `has_locale`: its environment is not a clean one. Variables that are set later take
/// precedence.
pub(super) fn with_terminal(command: Command, terminal: Option<TerminalUse>, has_locale: bool) -> Command {
    let Some(size) = terminal.and_then(|terminal| terminal.size) else {
        return command;
    };
    let variables = window::variables(std::env::vars_os(), has_locale);
    variables.fold(command.terminal(size), |command, (name, value)| {
        command.env(name, value)
    })
}
