//! `baton exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{environment_variable, flush_timeout, key_value, label, thread, timeout, title, utf8};
use super::{EXIT_CODES, RemoteArgs, WaterfallDetail};

const INPUT: &str = "\
Standard input is read to its end, whether or not the command wants it, as ssh does. In a loop that reads, and in the background of a
terminal, add `</dev/null`.";

#[derive(clap::Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[command(after_help = format!("{EXIT_CODES}\n\n{INPUT}\n\nExample:\n  baton exec --ticket-file ticket -- tar -c src | tar -t"))]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    /// Draw where the time went, on stderr; with --trace=brief only the stages that took more than 5 % of it, in ten rows at most
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "full")]
    pub(crate) trace: Option<WaterfallDetail>,
    /// Here to be answered in our own words.
    #[arg(long, short, hide = true, action = clap::ArgAction::Count)]
    pub(crate) tty: u8,
    /// Append every stage as OTLP/JSON to this file; at 16 MiB it becomes FILE.1 and a new one begins
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_json: Option<PathBuf>,
    /// Working directory on the remote machine
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Kill the command if it has not ended after this time, like 90s or 15m; connecting counts
    #[arg(long, value_name = "TIME", value_parser = utf8(timeout))]
    pub(crate) timeout: Option<Duration>,
    /// Name the command in traces, in place of its program; of low cardinality, like `build`
    #[arg(long, value_parser = utf8(label))]
    pub(crate) label: Option<String>,
    /// Wait for the collector for so long at the end, like 2s; what it does not have then, a later run sends [default: 50ms; with CI set 2s]
    #[arg(long, value_name = "TIME", value_parser = utf8(flush_timeout))]
    pub(crate) flush_timeout: Option<Duration>,
    /// Set a variable in the command's environment; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = environment_variable())]
    pub(crate) env: Vec<(OsString, OsString)>,
    /// The conversation or job that this command belongs to; `baton history --thread T` finds it again
    #[arg(long, value_name = "T", value_parser = utf8(thread))]
    pub(crate) thread: Option<String>,
    /// Title of the thread from now on
    #[arg(long, requires = "thread", value_parser = utf8(title))]
    pub(crate) title: Option<String>,
    /// Set a key of the thread's metadata; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = utf8(key_value), requires = "thread")]
    pub(crate) meta: Vec<(String, String)>,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}
