//! Parses plain command lines of `baton exec` without clap.
//!
//! clap builds the description of every option before it parses, which costs a new process many page faults, and users
//! wait for `exec`. A command line is plain if it is `exec`, a ticket and common options, each at most once and with
//! its value as a separate argument, then `--` and the command. clap parses every other command line, and reports help
//! and errors. For a plain command line this parser returns what clap would return; a test compares them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::values::{self, ticket};
use super::{ExecArgs, RemoteArgs, WaterfallDetail};

/// Parses a command line, which begins with the program's name; `None` if it is not plain.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Option<ExecArgs> {
    let mut words = words.into_iter().skip(1);
    if words.next()? != "exec" {
        return None;
    }
    let mut remote = RemoteArgs {
        ticket: None,
        ticket_file: None,
        host: None,
        key: None,
        relay_ca: None,
        connect_timeout: None,
        quiet: false,
    };
    let (mut trace, mut cwd, mut trace_json, mut trace_dir) = (None, None, None, None);
    let (mut thread, mut turn, mut step) = (None, None, None);
    loop {
        let word = words.next()?;
        let path = match word.to_str()? {
            "--" => break,
            "--trace" | "--trace=full" | "--trace=brief" if trace.is_none() => {
                trace = Some(match word == "--trace=brief" {
                    true => WaterfallDetail::Brief,
                    false => WaterfallDetail::Full,
                });
                continue;
            }
            "-q" | "--quiet" if !remote.quiet => {
                remote.quiet = true;
                continue;
            }
            "--host" if remote.host.is_none() => {
                remote.host = Some(text(&mut words, values::host)?);
                continue;
            }
            "--thread" if thread.is_none() => {
                thread = Some(text(&mut words, values::thread)?);
                continue;
            }
            "--turn" if turn.is_none() => {
                turn = Some(text(&mut words, values::turn)?);
                continue;
            }
            "--step" if step.is_none() => {
                step = Some(text(&mut words, values::step)?);
                continue;
            }
            "--key" => &mut remote.key,
            "--ticket-file" => &mut remote.ticket_file,
            "--relay-ca" => &mut remote.relay_ca,
            "--cwd" => &mut cwd,
            "--trace-json" => &mut trace_json,
            "--trace-dir" => &mut trace_dir,
            word if !word.starts_with('-') && remote.ticket.is_none() => {
                remote.ticket = ticket(word).ok();
                continue;
            }
            _ => return None,
        };
        let value = words.next()?;
        if path.is_some() || value.is_empty() || value.as_encoded_bytes().starts_with(b"-") {
            return None;
        }
        *path = Some(PathBuf::from(value));
    }
    // clap reports their conflicts.
    let selected = [
        remote.ticket.is_some(),
        remote.ticket_file.is_some(),
        remote.host.is_some(),
    ];
    if selected.into_iter().filter(|is_given| *is_given).count() > 1 {
        return None;
    }
    let command: Vec<_> = words.collect();
    (!command.is_empty()).then_some(ExecArgs {
        remote,
        trace,
        tty: 0,
        trace_json,
        trace_dir,
        cwd,
        timeout: None,
        label: None,
        family: None,
        flush_timeout: None,
        drain: None,
        grace: None,
        kill_grace: None,
        detach: false,
        id: None,
        on_full: None,
        max_output: None,
        json: false,
        env_policy: None,
        env_file: Vec::new(),
        env: Vec::new(),
        thread,
        turn,
        step,
        title: None,
        meta: Vec::new(),
        command,
    })
}

/// The next word, as a value; `None` where clap reads an option or reports an error.
fn text<T>(
    words: &mut impl Iterator<Item = OsString>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let value = words.next()?;
    let value = value.to_str().filter(|value| !value.starts_with('-'))?;
    parse(value).ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::super::{Args, Command};
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        let line = format!("baton {line}");
        line.split_whitespace().map(OsString::from).collect()
    }

    fn plain(line: &str) -> Option<ExecArgs> {
        parse(words(line))
    }

    #[test]
    fn clap_makes_the_same_of_a_plain_line() {
        for line in [
            "exec baton1:x -- ls",
            "exec baton1:x --trace -- ls -l --trace --help -- x",
            "exec --trace baton1:x -- exec",
            "exec -- ls",
            "exec --ticket-file t --key k --relay-ca c --cwd /tmp --trace-json f -- ls",
            "exec -q baton1:x --trace-dir d --trace-json f -- ls",
            "exec ticket:baton1:x --key k -- ls",
            "exec -q baton1:x --trace=brief -- ls",
            "exec --trace=full --quiet -- ls -t",
            "exec baton1:x --thread t --turn 3 --step s -- ls",
            "exec --host worker-1 --trace -- ls --host x",
            "exec --step plan --turn 9223372036854775807 baton1:x -- ls --turn 0",
        ] {
            let Ok(Args {
                command: Command::Exec(clap),
            }) = Args::try_parse_from(words(line))
            else {
                panic!("{line}")
            };
            assert_eq!(plain(line).as_ref(), Some(&*clap), "{line}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_clap() {
        for line in [
            "",
            "exec",
            "exec --help",
            "exec baton1:x --help -- ls",
            "exec -h",
            "exec help",
            "exec --version",
            "exec baton1:x ls",
            "exec baton1:x --",
            "exec baton1:x y -- ls",
            "exec baton1:x --host h -- ls",
            "exec --host h --ticket-file f -- ls",
            "exec --host h --host i -- ls",
            "exec --host a/b -- ls",
            "exec baton1:x --ticket-file f -- ls",
            "exec baton1:x --nothing -- ls",
            "exec baton1:x --env A=1 -- ls",
            "exec baton1:x --env-file f -- ls",
            "exec baton1:x --env-policy clean --drain 1s -- ls",
            "exec baton1:x --grace 60s -- ls",
            "exec baton1:x --kill-grace 30s -- ls",
            "exec baton1:x --title T -- ls",
            "exec baton1:x --thread t --title T -- ls",
            "exec baton1:x --thread -- ls",
            "exec baton1:x --thread=t -- ls",
            "exec baton1:x --thread a --thread b -- ls",
            "exec baton1:x --turn 0 -- ls",
            "exec baton1:x --turn -1 -- ls",
            "exec baton1:x --turn one -- ls",
            "exec baton1:x --turn 9223372036854775808 -- ls",
            "exec baton1:x --turn 1 --turn 1 -- ls",
            "exec baton1:x --step -s -- ls",
            "exec baton1:x --step a --step a -- ls",
            "exec baton1:x --timeout 5s -- ls",
            "exec baton1:x --label build -- ls",
            "exec baton1:x --family jsonl -- ls",
            "exec baton1:x --connect-timeout 5s -- ls",
            "exec baton1:x --flush-timeout 5s -- ls",
            "exec baton1:x --key=a -- ls",
            "exec baton1:x --key a --key b -- ls",
            "exec baton1:x --key -- ls",
            "exec baton1:x --key --trace -- ls",
            "exec baton1:x --trace --trace -- ls",
            "exec baton1:x --trace --trace=brief -- ls",
            "exec baton1:x --trace brief -- ls",
            "exec baton1:x --trace=all -- ls",
            "exec -q baton1:x --quiet -- ls",
            "exec -t baton1:x -- ls",
            "exec --ticket-file - -- ls",
            "help exec",
            "--help",
            "run ls",
            "exec-server --relay http://a",
        ] {
            assert_eq!(plain(line), None, "{line}");
        }
        assert_eq!(parse([]), None);
        for option in ["--thread", "--turn", "--step"] {
            let empty = ["baton", "exec", "baton1:x", option, "", "--", "ls"].map(OsString::from);
            assert_eq!(parse(empty), None, "{option}");
        }
    }

    #[test]
    fn clap_knows_no_variable_and_no_default() {
        let args = Args::command();
        let exec = args.find_subcommand("exec").unwrap();
        assert_eq!(exec.get_arguments().filter_map(clap::Arg::get_env).count(), 0);
        let with_values: Vec<_> = exec
            .get_arguments()
            .filter(|arg| arg.get_action().takes_values())
            .collect();
        assert!(with_values.len() > 8);
        assert!(with_values.iter().all(|arg| arg.get_default_values().is_empty()));
    }
}
