//! `baton ssh`: a command line like ssh's, for people and for tools that call ssh.

use baton_core_client::Command;
use baton_core_client::limits::GRACE_DEFAULT;

use super::execution::{Execution, TerminalWish, with_terminal};
use super::{Graces, Streams};
use crate::args::{RemoteArgs, SshArgs};
use crate::error::CliError;
use crate::limits::KILL_GRACE_DEFAULT;
use crate::logging;
use crate::ssh_line::{SshLine, TerminalChoice};
use crate::stdio::page;
use crate::trace_outputs::TraceOutputs;

pub(crate) fn main(args: SshArgs) -> Result<i32, CliError> {
    let line = SshLine::parse(args.words)?;
    if line.prints_host {
        page(&resolved(&line))?;
        return Ok(0);
    }
    logging::errors_only();
    let traces = TraceOutputs::open(None, line.trace_dir.clone())?;
    let wish = match (line.terminal, &line.command) {
        (TerminalChoice::Never, _) | (TerminalChoice::Auto, Some(_)) => TerminalWish::None,
        (TerminalChoice::Auto, None) => TerminalWish::IfLocal { tells: false },
        (TerminalChoice::IfLocal, _) => TerminalWish::IfLocal { tells: !line.quiet },
        (TerminalChoice::Always, _) => TerminalWish::Always,
    };
    let terminal = wish.granted(!line.no_escapes);
    let command = Command::login_shell(line.command.as_deref());
    let mut command = with_terminal(command, terminal, true);
    if let Some(user) = line.user.clone() {
        command = command.user(user);
    }
    for (name, value) in line.sent(std::env::vars_os()) {
        command = command.env(name, value);
    }
    Execution {
        command,
        remote: RemoteArgs {
            ticket: None,
            ticket_file: None,
            host: Some(line.host),
            key: None,
            relay_ca: None,
            connect_timeout: None,
            quiet: line.quiet,
        },
        graces: Graces {
            session: line.grace.unwrap_or(GRACE_DEFAULT),
            kill: KILL_GRACE_DEFAULT,
        },
        streams: Streams {
            terminal,
            input: !line.no_input,
            ..Streams::PIPES
        },
        is_detached: false,
        traces,
        drawing: None,
        flush_timeout: None,
    }
    .execute()
}

/// What `ssh -G` prints of a host, as far as it exists here. git looks whether this fails.
fn resolved(line: &SshLine) -> String {
    let user = line.user.as_ref();
    let user = user.map_or_else(String::new, |user| format!("user {user}\n"));
    let host = &line.host;
    format!("host {host}\nhostname {host}\n{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_host_has_lines_as_of_ssh() {
        let of = |words: &[&str]| {
            let words = words.iter().map(Into::into);
            resolved(&SshLine::parse(words).unwrap())
        };
        assert_eq!(of(&["-G", "worker"]), "host worker\nhostname worker\n");
        assert_eq!(
            of(&["-G", "me@worker"]),
            "host worker\nhostname worker\nuser me\n"
        );
    }
}
