//! `baton exec`: one command on a remote machine, like ssh.

use std::ffi::OsStr;

use baton_core_client::limits::GRACE_DEFAULT;
use baton_core_client::{Command, OnFull};

use super::execution::{Execution, TerminalWish, with_terminal};
use super::{Graces, Streams};
use crate::args::{EnvPolicy, ExecArgs, FullArg};
use crate::error::CliError;
use crate::event_output::EventForm;
use crate::limits::KILL_GRACE_DEFAULT;
use crate::trace_outputs::TraceOutputs;
use crate::{env_file, logging};

pub(crate) fn main(args: ExecArgs) -> Result<i32, CliError> {
    let wish = match args.tty {
        0 if !args.command.is_empty() => TerminalWish::None,
        0 => TerminalWish::IfLocal { tells: false },
        1 => TerminalWish::IfLocal {
            tells: !args.remote.quiet,
        },
        2.. => TerminalWish::Always,
    };
    let terminal = wish.granted(true);
    let mut argv = args.command.into_iter();
    let command = match argv.next() {
        Some(program) => Command::new(program).args(argv),
        None if terminal.is_some() => Command::login_shell(None::<&OsStr>),
        None => return Err(CliError::NoCommand),
    };
    logging::errors_only();
    let traces = TraceOutputs::open(args.trace_json, args.trace_dir)?;

    let is_clean = args.env_policy == Some(EnvPolicy::Clean);
    let mut command = match is_clean {
        true => command.env_clear(),
        false => command,
    };
    command = with_terminal(command, terminal, !is_clean);
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
    if let Some(id) = args.id {
        command = command.id(id);
    }
    let on_full = match args.on_full {
        Some(FullArg::Drop) => OnFull::Drop,
        Some(FullArg::Block) => OnFull::Block,
        None if args.detach => OnFull::Drop,
        None => OnFull::Block,
    };
    command = command.on_full(on_full);
    let graces = Graces {
        session: args.grace.unwrap_or(GRACE_DEFAULT),
        kill: args.kill_grace.unwrap_or(KILL_GRACE_DEFAULT),
    };
    Execution {
        command,
        remote: args.remote,
        graces,
        streams: Streams {
            terminal,
            form: EventForm {
                json: args.json,
                max_output: args.max_output,
            },
            ..Streams::PIPES
        },
        is_detached: args.detach,
        traces,
        drawing: args.trace,
        flush_timeout: args.flush_timeout,
    }
    .execute()
}
