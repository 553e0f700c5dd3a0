//! `baton exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use baton_core_client::{Family, ProcessId};

use super::values::{
    drain, environment_variable, family, flush_timeout, grace, key_value, kill_grace, label, max_output,
    one_of, step, thread, timeout, title, turn, utf8, uuid,
};
use super::{EXIT_CODES, RemoteArgs, WaterfallDetail};

const EXAMPLE: &str = "\
Examples:
  baton exec --ticket-file ticket -- tar -c src | tar -t
  baton exec --ticket-file ticket -t -- vim notes.txt
  baton exec --ticket-file ticket --trace-dir traces -- make test && baton analyze traces
  baton exec --ticket-file ticket --thread release-42 --turn 3 --step build -- make
  baton exec --ticket-file ticket --env-policy clean --env-file build.env -- make
  baton exec --ticket-file ticket --detach -- make release
  baton exec --ticket-file ticket --json --max-output 64KiB --timeout 2m -- cargo test
  baton exec --ticket-file ticket --timeout 15m --kill-grace 30s -- make deploy
  baton exec --ticket-file ticket --family prompt --trace -- sh -c 'exec python3 -i 2>&1'";

const INPUT: &str = "\
Standard input is read to its end even if the command does not read it, as with ssh. Add `</dev/null` in a loop that
reads standard input, and for a background job of a terminal.";

/// What the command's environment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EnvPolicy {
    /// With the exec-server's.
    Inherit,
    /// With nothing.
    Clean,
}

/// What happens when nobody reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FullArg {
    /// The command blocks.
    Block,
    /// The oldest output is dropped.
    Drop,
}

#[derive(clap::Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[command(after_help = format!("{EXIT_CODES}\n\n{INPUT}\n\n{EXAMPLE}"))]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// Draw where the time went, on standard error; with --trace=brief only the stages above 5 %, in at most ten rows
    #[arg(long, value_name = "HOW", value_parser = one_of::<WaterfallDetail>(), num_args = 0..=1, require_equals = true, default_missing_value = "full")]
    pub(crate) trace: Option<WaterfallDetail>,
    /// Give the command a terminal, if your standard input is one; -tt gives it one in any case. `~?` at the beginning
    /// of a line lists the escapes: `~.` leaves, `~d` detaches from the command for its --grace
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(crate) tty: u8,
    /// Append every stage as OTLP/JSON to this file; at 16 MiB it is renamed to FILE.1 and a new file is created
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_json: Option<PathBuf>,
    /// Append every stage to a corpus of traces in this directory, compressed; it is made if it does not exist. `baton
    /// analyze DIR` and `baton trace show DIR` read it
    #[arg(long, value_name = "DIR")]
    pub(crate) trace_dir: Option<PathBuf>,
    /// Working directory on the remote machine
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// End the command if it has not ended after this time, like 90s or 15m; the time includes connecting
    #[arg(long, value_name = "TIME", value_parser = utf8(timeout))]
    pub(crate) timeout: Option<Duration>,
    /// After the command's exit, wait at most this long for output of processes that it left behind; at most 1h
    /// [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = utf8(drain))]
    pub(crate) drain: Option<Duration>,
    /// How long the command runs on after its connection is lost, like 60s; the exec-server may grant less. Meanwhile
    /// this command reconnects and goes on where it was; afterwards `baton attach` does. 0s ends the command with its
    /// connection [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = utf8(grace))]
    pub(crate) grace: Option<Duration>,
    /// After Ctrl-C, SIGTERM or --timeout, give the command this long to end before its process group is killed, like
    /// 30s; 0s kills at once, at most 10m. A second Ctrl-C ends the wait [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = utf8(kill_grace))]
    pub(crate) kill_grace: Option<Duration>,
    /// Start the command and leave: print its id, and exit with code 0. It runs to its end, without standard input; see
    /// `baton logs`, `wait`, `attach` and `kill`
    #[arg(long, conflicts_with_all = ["tty", "grace", "max_output", "trace"])]
    pub(crate) detach: bool,
    /// The id of the command, a UUID, in place of a new one. A start with the id of an earlier one, by hand or by a script,
    /// starts nothing and goes on with that command
    #[arg(long, value_name = "UUID", value_parser = utf8(uuid))]
    pub(crate) id: Option<ProcessId>,
    /// When nobody reads the output and the exec-server has no more room for it: `block` the command, or `drop` the oldest
    /// output [default: block; with --detach drop]
    #[arg(long, value_name = "HOW", value_parser = one_of::<FullArg>())]
    pub(crate) on_full: Option<FullArg>,
    /// Print at most this much output, like 64KiB: its first half, and its last half when the command ends. What is cut is
    /// told on standard error
    #[arg(long, value_name = "BYTES", value_parser = utf8(max_output), conflicts_with = "tty")]
    pub(crate) max_output: Option<usize>,
    /// Print every event as one JSON object per line, for programs, in place of the output: `started`, `output`, `exited`,
    /// `closed`, each with its `seq` and the trace id
    #[arg(long, conflicts_with = "tty")]
    pub(crate) json: bool,
    /// Name of the command in traces, instead of its program; of low cardinality, like `build`
    #[arg(long, value_parser = utf8(label))]
    pub(crate) label: Option<String>,
    /// How the program's standard output shows that it is ready, so that this is measured. Standard error does not count:
    /// for a program that writes its prompt there (`sh -i`, `python3 -i`) use `sh -c '… 2>&1'`
    #[arg(long, value_name = "NAME", value_parser = family())]
    pub(crate) family: Option<Family>,
    /// Wait at most this long for the collector at the end, like 2s; a later run sends the rest [default: 50ms; 2s if
    /// CI is set]
    #[arg(long, value_name = "TIME", value_parser = utf8(flush_timeout))]
    pub(crate) flush_timeout: Option<Duration>,
    /// The environment that --env and --env-file add to: `inherit` is the exec-server's, `clean` is an empty one, even
    /// without PATH [default: inherit]
    #[arg(long, value_name = "POLICY", value_parser = one_of::<EnvPolicy>())]
    pub(crate) env_policy: Option<EnvPolicy>,
    /// Set the variables in this file in the command's environment; repeatable. Each line is NAME=VALUE, or a NAME whose
    /// value here is passed on; lines that begin with `#` mean nothing. --env takes precedence
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Set a variable in the command's environment; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = environment_variable())]
    pub(crate) env: Vec<(OsString, OsString)>,
    /// The thread (conversation, job) that this command belongs to; `baton history --thread T` lists its commands
    #[arg(long, value_name = "T", value_parser = utf8(thread))]
    pub(crate) thread: Option<String>,
    /// The turn of an agent's loop that this command belongs to, from 1; `baton history --turn N` lists its commands
    #[arg(long, value_name = "N", value_parser = utf8(turn))]
    pub(crate) turn: Option<u64>,
    /// The step of that turn; commands that run in parallel have the same step
    #[arg(long, value_name = "ID", value_parser = utf8(step))]
    pub(crate) step: Option<String>,
    /// Set the thread's title
    #[arg(long, requires = "thread", value_parser = utf8(title))]
    pub(crate) title: Option<String>,
    /// Set a key of the thread's metadata; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = utf8(key_value), requires = "thread")]
    pub(crate) meta: Vec<(String, String)>,
    /// The command and its arguments, after `--` [default: a login shell, if your standard input is a terminal]
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}
