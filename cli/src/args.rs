//! The command line.

mod plain_exec;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use baton_metadata::store::retention::Retention;
use baton_proto::metadata::Outcome;
use clap::{Parser, Subcommand};

use values::{
    any_text, connect_timeout, environment_variable, flush_timeout, key_value, label, memory, outcome, since,
    thread, ticket, timeout, title, utf8,
};

use crate::limits::{MAX_PROCESSES_MAX, MAX_SESSIONS_MAX};

/// Runs commands on a remote machine through a relay that cannot read them, and shows where every microsecond went.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// What the command line asks for. Ends the program where it asks for help, or cannot be understood.
    pub(crate) fn from_command_line() -> Self {
        let plain = plain_exec::parse(std::env::args_os());
        if let Some(exec) = plain {
            return Self {
                command: Command::Exec(exec),
            };
        }
        Self::try_parse().unwrap_or_else(|error| {
            // Nobody is left to be told if it cannot be printed.
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
  OTEL_EXPORTER_OTLP_ENDPOINT  where spans are exported to over OTLP (gRPC), like http://localhost:4317; without it,
                               nowhere. docs/guide/telemetry.md has a table of all standard OTEL_ variables: which work, and how
  CI                           if set, `run` and `exec` wait longer for the collector: see --flush-timeout
  TRACEPARENT, TRACESTATE, BAGGAGE  the trace that `run` and `exec` continue
  BATON_LOG                    log filter, like `debug` or `baton_relay=debug`
  NO_COLOR                     no colours, even on a terminal
  LC_ALL, LC_CTYPE, LANG       waterfalls are drawn in ASCII if the locale they set is not UTF-8

Exit codes: 0; 255 if Baton failed, and a sentence on stderr says what to do; 2 if Baton did not understand its own
arguments. `run` and `exec` exit with the code of their command: see their --help.";

const EXIT_CODES: &str = "\
Exit codes: the command's own; 128 + N if signal N killed it; 127 if it was not found, 126 if it cannot be run; 124 if
the time of --timeout was over, as timeout(1) says it; 141 if nobody reads our output any more, as after `| head` (the command is
killed); 255 if Baton failed; 2 if Baton did not understand its own arguments.";

const INPUT: &str = "\
Standard input is read to its end, whether or not the command wants it, as ssh does. In a loop that reads, and in the background of a
terminal, add `</dev/null`.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a command with relay, exec-server and client embedded, and draw where its time went
    Run(RunArgs),
    /// Run one command on a remote exec-server, like ssh
    Exec(ExecArgs),
    /// Run a relay
    Relay(RelayArgs),
    /// Run commands for clients; listens on nothing, dials the relay
    ExecServer(ExecServerArgs),
    /// What has run: commands, newest first, with outcome and time
    History(HistoryArgs),
    /// One command of the history, with where its time went
    Show(ShowArgs),
    /// Threads (conversations, jobs), the most recently used first
    Threads(ThreadsArgs),
    /// Look at one thread, or change it
    #[command(subcommand, after_help = "Example:\n  baton thread show release-42")]
    Thread(ThreadCommand),
    /// Wait until everything recorded so far is on the exec-server's disk
    Flush(FlushArgs),
    /// Make a key file, or read one, and print its public line
    Keygen(KeygenArgs),
    /// Revoke an exec-server's tickets, on its machine
    #[command(subcommand, after_help = "Example:\n  baton ticket rotate")]
    Ticket(TicketCommand),
    /// Check that a relay answers, or that an exec-server is registered; for container engines and service managers
    Health(HealthArgs),
    /// Look at trace files
    #[command(subcommand, after_help = "Example:\n  baton trace show trace.json")]
    Trace(TraceCommand),
}

#[derive(clap::Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  baton run --trace-json trace.json -- make test"))]
pub(crate) struct RunArgs {
    /// Do not draw the waterfall
    #[arg(long, short, conflicts_with = "trace")]
    pub(crate) quiet: bool,
    /// Draw the whole waterfall, or with --trace=brief ten rows of it at most [default: full]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "full")]
    pub(crate) trace: Option<WaterfallDetail>,
    /// Append every stage as OTLP/JSON to this file; at 16 MiB it becomes FILE.1 and a new one begins
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_json: Option<PathBuf>,
    /// Working directory of the command
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Name the command in traces, in place of its program; of low cardinality, like `build`
    #[arg(long, value_parser = utf8(label))]
    pub(crate) label: Option<String>,
    /// Kill the command if it has not ended after this time, like 90s or 15m
    #[arg(long, value_name = "TIME", value_parser = utf8(timeout))]
    pub(crate) timeout: Option<Duration>,
    /// Wait for the collector for so long at the end, like 2s; what it does not have then, a later run sends [default: 50ms; with CI set 2s]
    #[arg(long, value_name = "TIME", value_parser = utf8(flush_timeout))]
    pub(crate) flush_timeout: Option<Duration>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

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

/// How much of a waterfall is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WaterfallDetail {
    /// Every stage
    Full,
    /// The stages over 5 %, the remainder and the trace id
    Brief,
}

/// Which exec-server, and who we are there.
#[derive(clap::Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct RemoteArgs {
    /// The exec-server's ticket [env: BATON_TICKET]. Here every process of this machine can read it while `baton` runs: the variable, or a file,
    /// keeps it to yourself
    // Not clap's `env`: what is said on the command line must count, whichever of the two variables is set, and an empty one is none.
    #[arg(value_name = "TICKET", value_parser = utf8(ticket))]
    pub(crate) ticket: Option<String>,
    /// Read the ticket from this file, where `baton exec-server --ticket-file` wrote it, or with `-` from the first line of standard input
    /// [env: BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "ticket")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// This client's key file; made at first use [default: ~/.config/baton/client_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [env: BATON_RELAY_CA] [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// How long to try to connect while relay or exec-server are down, restart or are full, like 5s or 2m; 0s is one attempt. What waiting
    /// cannot cure is told at once [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = utf8(connect_timeout))]
    pub(crate) connect_timeout: Option<Duration>,
    /// Do not warn of a relay in clear text, which is otherwise done once for each host
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(clap::Args)]
#[command(after_help = "\
Columns that do not fit the terminal are left out: --json has all. Without a terminal nothing is cut.

Example:
  baton history --failed --since 1d")]
pub(crate) struct HistoryArgs {
    /// Only commands of this thread
    #[arg(long, value_name = "T", value_parser = utf8(thread))]
    pub(crate) thread: Option<String>,
    /// Only what was started since: 90s, 15m, 1h, 2d ago, since the midnight that began a day like 2026-01-31, or since a time like
    /// 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(crate) since: Option<u64>,
    /// Only what did not exit with 0
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only what ended so: exited, signaled, timed_out, killed, failed_to_start or lost; repeatable, or several with commas between
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = utf8(outcome))]
    pub(crate) outcome: Vec<Outcome>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "\
The stages are those that the exec-server measured, from the arrival of the call to the end of the command; the whole way is in the
trace whose id is shown, where it was exported, and in files of --trace-json.

Example:
  baton show 019a3c5e")]
pub(crate) struct ShowArgs {
    /// The command's id or the beginning of it, or its trace id
    pub(crate) id: String,
    /// One JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

/// How much of a list, and for whom.
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// At most so many; 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    /// One JSON object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton threads --json")]
pub(crate) struct ThreadsArgs {
    /// Archived ones instead
    #[arg(long)]
    pub(crate) archived: bool,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Subcommand)]
pub(crate) enum ThreadCommand {
    /// Title, metadata, and the repository that its last command ran in
    Show(ThreadShowArgs),
    /// Change title and metadata
    Set(ThreadSetArgs),
    /// Hide it from `baton threads` until it is used again
    Archive(ThreadArchiveArgs),
    /// Forget title and metadata; the commands stay in the history
    Delete(ThreadDeleteArgs),
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton thread show release-42")]
pub(crate) struct ThreadShowArgs {
    /// The thread
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    /// One JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton thread set release-42 --title 'Release 42' --meta owner=alice --remove draft"
)]
pub(crate) struct ThreadSetArgs {
    /// The thread; made if there is none
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    /// Its title; empty takes it away
    #[arg(long, value_parser = utf8(title))]
    pub(crate) title: Option<String>,
    /// Set a key of its metadata; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = utf8(key_value))]
    pub(crate) meta: Vec<(String, String)>,
    /// Take a key away; repeatable
    #[arg(long, value_name = "KEY", value_parser = utf8(any_text))]
    pub(crate) remove: Vec<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton thread archive release-42")]
pub(crate) struct ThreadArchiveArgs {
    /// The thread
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    /// Show it again
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton thread delete release-42")]
pub(crate) struct ThreadDeleteArgs {
    /// The thread
    #[arg(value_parser = utf8(thread))]
    pub(crate) thread: String,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "\
Prints nothing when all is well. Records of this client that were given up because the disk took none for too long are told by each
flush, until --acknowledge takes note of them; other clients are told of theirs.

Exit codes: 0 if everything is on disk (or in memory, with exec-server --state none, which is said); 255 if not, and a sentence says why.

Example:
  baton exec -- make release && baton flush")]
pub(crate) struct FlushArgs {
    /// Take note of so many of this client's records that were given up: from now on only later ones are told
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) acknowledge: u64,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton relay --listen 0.0.0.0:7700 --authority relay.example:7700")]
pub(crate) struct RelayArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub(crate) listen: SocketAddr,
    /// The host:port by which exec-servers dial this relay; needed when they dial it by a name; repeatable [default:
    /// the address a connection came to]
    #[arg(long, value_name = "NAME")]
    pub(crate) authority: Vec<String>,
    /// Let only these exec-servers register: a file with one id a line, # begins a comment; read again when it changes. An
    /// exec-server prints its id at its start [default: anyone may register]
    #[arg(long, value_name = "FILE")]
    pub(crate) allow_servers: Option<PathBuf>,
    /// Memory that clients and exec-servers together can make this relay hold; no address and no exec-server gets more than half.
    /// The process takes an eighth and 48 MiB more at most
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = memory)]
    pub(crate) memory: usize,
    /// Speak TLS, with this certificate and its chain (PEM); peers then dial https:// URLs. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM), which others must not be able to read
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(clap::Args)]
#[command(after_help = "\
The allow-list holds one client a line: its public key, a name, and what its trace context is trusted with
(continue, clamp or restart). It is read anew for every client, and a client whose line is taken off it is cut within a
second. A bad line refuses its own client alone. A list that others can change, or whose directory they can change, lets nobody in. A client
prints its line with `baton keygen`, or when it is refused.

The ticket goes to standard output, or with --ticket-file to that file alone: use it where standard output is kept in a log. It
stays the same while key and relay do, until `baton ticket rotate`; treat it as a secret.

Asked to stop, by Ctrl-C or SIGTERM, it gives commands that run two seconds to end; asked so again, it ends them at once.

Example:
  baton exec-server --relay http://relay.example:7700")]
pub(crate) struct ExecServerArgs {
    /// The relay to register with
    #[arg(long, value_name = "URL")]
    pub(crate) relay: String,
    /// Key file; made at first use [default: ~/.config/baton/exec_server_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [env: BATON_RELAY_CA] [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Write the ticket to this file, readable by its owner only, and not to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Allow-list [default: ~/.config/baton/allowed_clients]
    #[arg(long, value_name = "FILE")]
    pub(crate) allow: Option<PathBuf>,
    /// Where records of commands are kept, or `none` for memory alone: nothing is written, and all of it ends with this exec-server
    /// [default: ~/.local/state/baton/ID, ID being this exec-server's]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// How long records are kept and how much they may take; `all` keeps everything. In memory they take 32MiB unless a size is given, and
    /// 512MiB at most [default: 30d,1GiB]
    #[arg(long, value_name = "AGE,SIZE")]
    pub(crate) retain: Option<Retention>,
    /// When a start counts as recorded: `start` delays each command until its record is on disk, so that a crash never runs one twice
    #[arg(long, value_enum, default_value_t = Durability::Async)]
    pub(crate) durability: Durability,
    /// How commands are started: `clone` takes as long whatever memory the exec-server uses, `std` (fork) takes longer with it but works in
    /// every sandbox, and `auto` is `clone` where a trial of it at the start succeeds
    #[arg(long, value_name = "HOW", value_enum, default_value_t = SpawnMethod::Auto)]
    pub(crate) spawn: SpawnMethod,
    /// Commands at once, of all clients. A client's key may start one while it runs fewer than three times what is free, so it gets three
    /// quarters alone. A command takes some 40 KiB here, and 4.3 MiB at most if its client stalls it on purpose: 4.4 GiB for 1024
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PROCESSES, value_parser = clap::value_parser!(u32).range(1..=MAX_PROCESSES_MAX))]
    pub(crate) max_processes: u32,
    /// How many sessions (connected clients) it serves at once, shared by client key: a key alone gets four fifths. A relay passes on 2,176
    /// at most, those that wait or are refused included. An idle one takes some 60 KiB (1,024: 60 MiB), and one whose client stalls all its 256 calls on purpose 580 MiB
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SESSIONS, value_parser = clap::value_parser!(u32).range(1..=MAX_SESSIONS_MAX))]
    pub(crate) max_sessions: u32,
}

/// As the exec-server has it.
const DEFAULT_PROCESSES: u32 = baton_exec_server::limits::MAX_PROCESSES as u32;

/// As the channel has it.
const DEFAULT_SESSIONS: u32 = baton_channel::limits::EXEC_SERVER_SESSIONS as u32;

/// How an exec-server starts commands.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SpawnMethod {
    /// `clone` if it works here, else `std`
    Auto,
    /// clone(2) with shared memory
    Clone,
    /// The standard library's fork
    Std,
}

impl From<SpawnMethod> for baton_exec_server::SpawnMethod {
    fn from(method: SpawnMethod) -> Self {
        match method {
            SpawnMethod::Auto => Self::Auto,
            SpawnMethod::Clone => Self::Clone,
            SpawnMethod::Std => Self::Std,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// Soon; nothing waits
    Async,
    /// Before the command is started
    Start,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton keygen ci_key\n  baton keygen --public ci_key")]
pub(crate) struct KeygenArgs {
    /// Make nothing: print the public line of the key that is there
    #[arg(long)]
    pub(crate) public: bool,
    /// Where to write the key; an existing file is never overwritten [default: ~/.config/baton/client_key]
    pub(crate) file: Option<PathBuf>,
}

#[derive(clap::Args)]
#[command(after_help = "\
With --relay, the relay at this URL must answer. Otherwise the exec-server of the ticket must be registered with its relay. The
check goes through the relay alone: it starts nothing, needs no key, and the exec-server does not hear of it. It takes three
seconds at most.

Exit codes: 0 if healthy, and nothing is printed; 1 if not, and a sentence on stderr says why; 2 if Baton did not understand its own
arguments.

Examples:
  baton health --relay http://127.0.0.1:7700
  baton health --ticket-file ticket")]
pub(crate) struct HealthArgs {
    /// Check this relay
    #[arg(long, value_name = "URL", conflicts_with = "ticket_file")]
    pub(crate) relay: Option<String>,
    /// Check the exec-server of the ticket in this file, as `baton exec-server --ticket-file` wrote it [env: BATON_TICKET or
    /// BATON_TICKET_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [env: BATON_RELAY_CA] [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum TicketCommand {
    /// Make every ticket from before worthless: the relay refuses to dial with it
    Rotate(TicketRotateArgs),
}

#[derive(clap::Args)]
#[command(after_help = "\
Run it on the exec-server's machine, as its user, when a ticket has leaked. Keys and allow-list stay as they are, and so do sessions of allowed
clients that are open. Give clients the new ticket, which the exec-server tells where it told the one before.

The generation of the ticket is kept beside the key, in KEY.generation; back it up with the key. Without that file the first tickets are valid
again.

Example:
  baton ticket rotate")]
pub(crate) struct TicketRotateArgs {
    /// The exec-server's key file [default: ~/.config/baton/exec_server_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum TraceCommand {
    /// Draw the waterfalls of a trace file
    Show(TraceShowArgs),
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton run --quiet --trace-json trace.json -- true && baton trace show trace.json"
)]
pub(crate) struct TraceShowArgs {
    /// A file written by --trace-json
    pub(crate) file: PathBuf,
}

/// How `exec` wants its command.
const DASHES_TIP: &str = "  tip: `baton exec` takes its command after `--`, as in `baton exec -- uname -a`";

/// Whether this is an `exec` without the dashes before its command.
fn lacks_dashes(mut line: impl Iterator<Item = OsString>) -> bool {
    line.nth(1).is_some_and(|command| command == "exec") && !line.any(|word| word == "--")
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn title_and_metadata_need_a_thread() {
        let line = ["baton", "exec", "baton1:x", "--title", "t", "--", "ls"];
        assert!(Args::try_parse_from(line).is_err());
    }
}
