//! `baton exec`: one command on a remote machine, like ssh.

use std::mem::ManuallyDrop;

use baton_core_client::{Command, RecordTo};
use baton_trace::record::Side;

use super::{Graces, run_attached, show_trace};
use crate::args::{EnvPolicy, ExecArgs};
use crate::error::CliError;
use crate::exporters::Exporters;
use crate::limits::KILL_GRACE_DEFAULT;
use crate::remote::RemoteClient;
use crate::runtime::runtime;
use crate::trace_outputs::TraceOutputs;
use crate::{env_file, logging};

pub(crate) fn main(args: ExecArgs) -> Result<i32, CliError> {
    if args.tty > 0 {
        return Err(CliError::NoTerminals);
    }
    logging::errors_only();
    let traces = TraceOutputs::open(args.trace_json, args.trace_dir)?;
    let mut exporting = Exporters::of_command();
    let recorder = exporting.start(Side::Client)?;

    let mut argv = args.command.into_iter();
    let mut command = Command::new(argv.next().unwrap_or_default()).args(argv);
    if args.env_policy == Some(EnvPolicy::Clean) {
        command = command.env_clear();
    }
    if let Some(limit) = args.drain {
        command = command.drain(limit);
    }
    let mut variables = Vec::new();
    for file in &args.env_file {
        variables.append(&mut env_file::read(file, |name| std::env::var_os(name))?);
    }
    variables.extend(args.env);
    for (name, value) in variables {
        command = command.env(name, value);
    }
    if let Some(cwd) = args.cwd {
        command = command.current_dir(cwd);
    }
    if let Some(label) = args.label {
        command = command.label(label);
    }
    if let Some(family) = args.family {
        command = command.family(family);
    }
    if let Some(limit) = args.timeout {
        command = command.timeout(limit);
    }
    if let Some(thread) = args.thread {
        command = command.thread(thread);
    }
    if let Some(turn) = args.turn {
        command = command.turn(turn);
    }
    if let Some(step) = args.step {
        command = command.step(step);
    }
    if let Some(title) = args.title {
        command = command.thread_title(title);
    }
    for (key, value) in args.meta {
        command = command.thread_metadata(key, value);
    }
    let (record_to, record) = RecordTo::channel();
    if args.trace.is_some() || !traces.is_empty() {
        command = command.record_to(record_to);
    }

    // The process ends after this function. Dropping these would only delay the exit. The kernel clears the memory,
    // keys included, before another process gets it.
    let runtime = ManuallyDrop::new(runtime()?);
    let graces = Graces {
        session: args.grace.unwrap_or_default(),
        kill: args.kill_grace.unwrap_or(KILL_GRACE_DEFAULT),
    };
    let remote = ManuallyDrop::new(RemoteClient::new(args.remote, recorder)?);
    let outcome = runtime.block_on(async {
        let outcome = run_attached(&remote.client, command, graces).await;
        remote.client.close().await;
        outcome
    });
    exporting.finish(&runtime, args.flush_timeout);
    show_trace(record, traces, args.trace);
    outcome.map_err(|error| remote.explain(error))
}
