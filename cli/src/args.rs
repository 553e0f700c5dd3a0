//! The command line.

mod analyze;
mod attach;
mod compare;
mod cp;
mod exec;
mod exec_server;
mod flush;
mod gate;
mod health;
mod history;
mod history_input;
mod host;
mod keygen;
mod kill;
mod list;
mod logs;
mod plain_exec;
mod ps;
mod relay;
mod remote;
mod run;
mod show;
mod ssh;
mod thread;
mod threads;
mod ticket;
mod trace;
pub(crate) mod values;
mod wait;
mod warm;
mod waterfall;

use std::ffi::OsString;

use baton_trace::text::printable;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

pub(crate) use self::analyze::{AnalyzeArgs, ByArg, Moment};
pub(crate) use self::attach::AttachArgs;
pub(crate) use self::compare::CompareArgs;
pub(crate) use self::cp::CpArgs;
pub(crate) use self::exec::{EnvPolicy, ExecArgs, FullArg};
pub(crate) use self::exec_server::{Durability, ExecServerArgs};
pub(crate) use self::flush::FlushArgs;
pub(crate) use self::gate::GateArgs;
pub(crate) use self::health::HealthArgs;
pub(crate) use self::history::HistoryArgs;
pub(crate) use self::history_input::HistoryInputArgs;
pub(crate) use self::host::{HostAddArgs, HostCommand, HostListArgs, HostRemoveArgs};
pub(crate) use self::keygen::KeygenArgs;
pub(crate) use self::kill::KillArgs;
pub(crate) use self::list::ListArgs;
pub(crate) use self::logs::LogsArgs;
pub(crate) use self::ps::PsArgs;
pub(crate) use self::relay::RelayArgs;
pub(crate) use self::remote::RemoteArgs;
pub(crate) use self::run::RunArgs;
pub(crate) use self::show::ShowArgs;
pub(crate) use self::ssh::SshArgs;
pub(crate) use self::thread::{
    ThreadArchiveArgs, ThreadCommand, ThreadDeleteArgs, ThreadSetArgs, ThreadShowArgs,
};
pub(crate) use self::threads::ThreadsArgs;
pub(crate) use self::ticket::{TicketCommand, TicketRotateArgs};
pub(crate) use self::trace::{TraceCheckArgs, TraceCommand, TraceCompactArgs, TraceShowArgs};
pub(crate) use self::wait::WaitArgs;
pub(crate) use self::warm::WarmArgs;
pub(crate) use self::waterfall::WaterfallDetail;

/// Runs commands on a remote machine through a relay that cannot read them, and shows where every microsecond went.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Parses the command line. Prints help or an error and exits if there is no command to run.
    pub(crate) fn from_command_line() -> Self {
        if let Some(ssh) = ssh::parse(std::env::args_os()) {
            return Self {
                command: Command::Ssh(ssh),
            };
        }
        let plain = plain_exec::parse(std::env::args_os());
        if let Some(exec) = plain {
            return Self {
                command: Command::Exec(Box::new(exec)),
            };
        }
        Self::try_parse().unwrap_or_else(|error| {
            let error = explained(error);
            // A failure to print cannot be reported either.
            let _ = error.print();
            if error.use_stderr() && lacks_dashes(std::env::args_os()) {
                stderr_line!("\n{DASHES_TIP}");
            }
            std::process::exit(error.exit_code())
        })
    }
}

const EXAMPLE: &str = "\
Example, on one machine, nothing else needed:
  baton run -- cargo --version

Example, on three:
  relay$   baton relay --listen 0.0.0.0:7700 --authority relay.example:7700
  worker$  baton exec-server --relay http://relay.example:7700 --ticket-file ticket
  laptop$  baton exec --ticket-file ticket --trace -- uname -a

Environment:
  OTEL_EXPORTER_OTLP_ENDPOINT  export spans to this OTLP (gRPC) collector, like http://localhost:4317; without it, spans
                               are not exported. docs/guide/telemetry.md lists the supported OTEL_ variables
  CI                           if set, `run` and `exec` wait longer for the collector: see --flush-timeout
  TRACEPARENT, TRACESTATE, BAGGAGE  the trace that `run` and `exec` continue
  BATON_LOG                    log filter, like `debug` or `baton_relay=debug`; release builds have no `trace`
  NO_COLOR                     if set, no colours, even on a terminal
  LC_ALL, LC_CTYPE, LANG       waterfalls are drawn in ASCII if the locale is not UTF-8

Exit codes:
  0    success
  2    invalid arguments
  255  Baton failed; a message on standard error states what to do
`run` and `exec` exit with the code of their command: see their --help.";

const EXIT_CODES: &str = "\
Exit codes: the command's own, or
  2        invalid arguments
  124      --timeout expired, as with timeout(1)
  126      the command cannot be executed
  127      the command was not found
  128 + N  the command was killed by signal N
  141      the reader of the output closed it, as in `| head`; the command is killed
  255      Baton failed";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a command with relay, exec-server and client embedded, and draw where its time went
    Run(RunArgs),
    /// Run one command on a remote exec-server, like ssh
    Exec(Box<ExecArgs>),
    /// Run a command line on a named exec-server, for tools that call ssh: `rsync -e 'baton ssh'`
    Ssh(SshArgs),
    /// Copy files between this machine and an exec-server's, like scp
    Cp(CpArgs),
    /// Run a relay
    Relay(RelayArgs),
    /// Run commands for clients; dials the relay and opens no port
    ExecServer(ExecServerArgs),
    /// Name exec-servers, so that `--host NAME` selects one
    #[command(subcommand, after_help = "Example:\n  baton host add worker - <ticket")]
    Host(HostCommand),
    /// Go on with a command whose client is gone
    Attach(AttachArgs),
    /// Print the output that is kept of a command, beside its client
    Logs(LogsArgs),
    /// Wait for the exit of a command that runs
    Wait(WaitArgs),
    /// List the commands that run
    Ps(PsArgs),
    /// Send a signal to a command that runs
    Kill(KillArgs),
    /// List the commands that have run, newest first, with outcome and time
    History(HistoryArgs),
    /// Show one command of the history, and where its time went
    Show(ShowArgs),
    /// List threads (conversations, jobs), the most recently used first
    Threads(ThreadsArgs),
    /// Show one thread, or change it
    #[command(subcommand, after_help = "Example:\n  baton thread show release-42")]
    Thread(ThreadCommand),
    /// Wait until everything recorded so far is on the exec-server's disk
    Flush(FlushArgs),
    /// Keep a session warm and show its countdown; with --watch also those of other sessions of this client key
    Warm(WarmArgs),
    /// Create a key file, or read one, and print its public line
    Keygen(KeygenArgs),
    /// Revoke an exec-server's tickets, on its machine
    #[command(subcommand, after_help = "Example:\n  baton ticket rotate")]
    Ticket(TicketCommand),
    /// Check that a relay answers, or that an exec-server is registered; for container engines and service managers
    Health(HealthArgs),
    /// Compare two recordings stage by stage: what became slower or faster beyond noise
    Compare(CompareArgs),
    /// Decide by rules over recorded traces; for CI
    Gate(GateArgs),
    /// Draw trace files, and check them
    #[command(subcommand, after_help = "Example:\n  baton trace show trace.json")]
    Trace(TraceCommand),
    /// Say where the time of many calls went, by stage
    Analyze(AnalyzeArgs),
}

/// clap's error without control characters from the command line, which would steer the terminal, and with a tip that
/// helps: clap suggests `--` before a value that begins with `-`, and what follows `--` is the command to run.
fn explained(mut error: clap::Error) -> clap::Error {
    let texts: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(printable(text).into_owned()))),
            ContextValue::Strings(texts) => {
                let texts = texts.iter().map(|text| printable(text).into_owned());
                Some((kind, ContextValue::Strings(texts.collect())))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in texts {
        error.insert(kind, value);
    }
    if error.kind() == ErrorKind::UnknownArgument && error.remove(ContextKind::Suggested).is_some() {
        let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
        if argument.is_some_and(|argument| !argument.starts_with("--")) {
            let tip = StyledStr::from(DASH_TIP);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
    }
    error
}

/// A tip for an argument that begins with `-` and is no option.
const DASH_TIP: &str = "a value that begins with `-` follows `=`, as in `--step=-1`";

/// A tip for an `exec` without `--`.
const DASHES_TIP: &str = "  tip: `baton exec` takes its command after `--`, as in `baton exec -- uname -a`";

/// Whether this is an `exec` without `--` before its command.
fn lacks_dashes(mut line: impl Iterator<Item = OsString>) -> bool {
    line.nth(1).is_some_and(|command| command == "exec") && !line.any(|word| word == "--")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_thread_without_a_name_is_refused() {
        for line in [
            &["baton", "exec", "--thread", "", "baton1:x", "--", "true"][..],
            &["baton", "exec", "--thread=", "baton1:x", "--", "true"],
            &["baton", "history", "--thread", ""],
        ] {
            let error = Args::try_parse_from(line).err().unwrap();
            assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation, "{line:?}");
        }
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn look(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.contains("Example")),
                "{}",
                command.get_name()
            );
            command.get_subcommands().for_each(look);
        }
        look(&Args::command());
    }

    #[test]
    fn run_takes_the_command_with_and_without_dashes() {
        for line in [
            &["baton", "run", "--", "ls", "-l"][..],
            &["baton", "run", "ls", "-l"],
        ] {
            let Ok(Args {
                command: Command::Run(run),
            }) = Args::try_parse_from(line)
            else {
                panic!("{line:?}")
            };
            assert_eq!(run.command, ["ls", "-l"]);
        }
    }

    #[test]
    fn exec_takes_the_ticket_before_the_dashes() {
        let line = ["baton", "exec", "baton1:x", "--trace", "--", "ls", "-l"];
        let Ok(Args {
            command: Command::Exec(exec),
        }) = Args::try_parse_from(line)
        else {
            panic!()
        };
        assert_eq!(exec.remote.ticket.as_deref(), Some("baton1:x"));
        assert_eq!(exec.trace, Some(WaterfallDetail::Full));
        assert_eq!(exec.command, ["ls", "-l"]);
    }

    #[test]
    fn an_exec_without_dashes_is_told_of_them() {
        let lacks = |line: &[&str]| lacks_dashes(line.iter().map(OsString::from));
        assert!(lacks(&["baton", "exec", "uname", "-a"]));
        assert!(!lacks(&["baton", "exec", "--bogus", "--", "uname"]));
        assert!(!lacks(&["baton", "run", "uname"]) && !lacks(&["baton"]));
    }

    #[test]
    fn exec_takes_the_whole_ticket_line() {
        let line = ["baton", "exec", "ticket: baton1:x\n", "--", "ls"];
        let Ok(Args {
            command: Command::Exec(exec),
        }) = Args::try_parse_from(line)
        else {
            panic!()
        };
        assert_eq!(exec.remote.ticket.as_deref(), Some("baton1:x"));
    }

    #[test]
    fn run_takes_a_command_without_dashes_and_no_option_that_it_does_not_know_for_one() {
        let run = |words: &[&str]| Args::try_parse_from([&["baton", "run", "-q"], words].concat());
        for words in [&["ls", "-l", "--quiet"][..], &["--", "ls", "-l", "--quiet"]] {
            let Command::Run(run) = run(words).unwrap().command else {
                panic!("{words:?}")
            };
            assert_eq!(run.command, ["ls", "-l", "--quiet"]);
        }
        assert!(run(&["--", "-l"]).is_ok());
        let error = run(&["--env", "A=b", "ls"]).err().unwrap();
        assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument);
    }

    /// What the user reads of a refused command line.
    fn refusal(line: &[&OsStr]) -> String {
        let line = [OsStr::new("baton")].into_iter().chain(line.iter().copied());
        let Err(error) = Args::try_parse_from(line) else {
            panic!("accepted")
        };
        explained(error).render().to_string()
    }

    #[test]
    fn control_characters_of_the_command_line_do_not_reach_the_terminal() {
        for line in [
            &["history", "--turn", "\x1b[31mred"][..],
            &["history", "--family\x1b]0;title\x07"],
            &["exec", "--family", "\u{9b}2Jjsonl", "x", "--", "ls"],
            &["no\x1bsuch"],
            &["history", "--outcome", "\u{202e}exited"],
        ] {
            let line: Vec<_> = line.iter().map(OsStr::new).collect();
            let text = refusal(&line);
            let text = text.trim_end();
            assert!(
                text.lines().all(|line| printable(line) == line),
                "{text:?} of {line:?}"
            );
        }
    }

    #[test]
    fn a_value_that_begins_with_a_dash_is_explained() {
        for option in ["--turn", "--step"] {
            let text = refusal(&["history", option, "-1"].map(OsStr::new));
            assert!(text.contains(DASH_TIP) && !text.contains("'-- -1'"), "{text}");
        }
        let text = refusal(&["history", "--turn=-1"].map(OsStr::new));
        assert!(text.contains("without a sign"), "{text}");
        let text = refusal(&["history", "--tur", "1"].map(OsStr::new));
        assert!(text.contains("similar argument exists: '--turn'"), "{text}");
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_an_error_that_names_its_option() {
        let bad = OsStr::from_bytes(b"\xff");
        for option in ["--family", "--trace", "--step", "--turn"] {
            let mut option_and_value = OsStr::new(option).to_owned();
            option_and_value.push("=");
            option_and_value.push(bad);
            let line = ["exec", "x"].map(OsStr::new);
            let text = refusal(&[line[0], line[1], &option_and_value]);
            assert!(text.contains(option) && text.contains("not UTF-8"), "{text}");
        }
    }

    #[test]
    fn title_and_metadata_need_a_thread() {
        let line = ["baton", "exec", "baton1:x", "--title", "t", "--", "ls"];
        assert!(Args::try_parse_from(line).is_err());
    }
}
