//! The command line.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::ticket_file;

/// Runs commands on a remote machine through a relay that cannot read them, and shows where every microsecond went.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLE: &str = "\
Example, on one machine, nothing else needed:
  baton run -- cargo --version

Example, on three:
  relay$   baton relay --listen 0.0.0.0:7700 --authority relay.example:7700
  worker$  baton exec-server --relay http://relay.example:7700
  laptop$  baton exec TICKET --trace -- uname -a

Environment:
  OTEL_EXPORTER_OTLP_ENDPOINT  where spans are exported to over OTLP (gRPC), like http://localhost:4317; without it,
                               nowhere. The other standard OTEL_ variables work too
  TRACEPARENT, TRACESTATE, BAGGAGE  the trace that `run` and `exec` continue
  BATON_LOG                    log filter, like `debug` or `baton_relay=debug`

Exit codes: 0; 255 if Baton failed, and a sentence on stderr says what to do; 2 if Baton did not understand its own
arguments. `run` and `exec` exit with the code of their command: see their --help.";

const EXIT_CODES: &str = "\
Exit codes: the command's own; 128 + N if signal N killed it; 127 if it was not found, 126 if it cannot be run; 141 if
nobody reads our output any more, as after `| head` (the command is killed); 255 if Baton failed; 2 if Baton did not
understand its own arguments.";

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
    /// Make a key file, or read one, and print its public line
    Keygen(KeygenArgs),
    /// Look at trace files
    #[command(subcommand)]
    Trace(TraceCommand),
}

#[derive(clap::Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  baton run --trace-json trace.json -- make test"))]
pub(crate) struct RunArgs {
    /// Do not draw the waterfall
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Append every stage as OTLP/JSON to this file; at 16 MiB it becomes FILE.1 and a new one begins
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_json: Option<PathBuf>,
    /// Working directory of the command
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

#[derive(clap::Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  baton exec \"$TICKET\" -- tar -c src | tar -t"))]
pub(crate) struct ExecArgs {
    /// The exec-server's ticket, as `baton exec-server` printed it
    #[arg(env = "BATON_TICKET", value_name = "TICKET", hide_env_values = true, value_parser = ticket)]
    pub(crate) ticket: Option<String>,
    /// Read the ticket from this file, where `baton exec-server --ticket-file` wrote it
    #[arg(long, value_name = "FILE", env = "BATON_TICKET_FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Draw where the time went, on stderr
    #[arg(long)]
    pub(crate) trace: bool,
    /// Append every stage as OTLP/JSON to this file; at 16 MiB it becomes FILE.1 and a new one begins
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_json: Option<PathBuf>,
    /// This client's key file; made at first use [default: ~/.config/baton/client_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [default: the system's]
    #[arg(long, value_name = "FILE", env = "BATON_RELAY_CA")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Working directory on the remote machine
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set a variable in the command's environment; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
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
second. A client prints its line with `baton keygen`, or when it is refused.

The ticket goes to standard output. It stays the same while key and relay do; treat it as a secret.

Example:
  baton exec-server --relay http://relay.example:7700")]
pub(crate) struct ExecServerArgs {
    /// The relay to register with
    #[arg(long, value_name = "URL")]
    pub(crate) relay: String,
    /// Key file; made at first use [default: ~/.config/baton/exec_server_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Trust this PEM file of certificates, and no other, to vouch for a relay dialled by https [default: the system's]
    #[arg(long, value_name = "FILE", env = "BATON_RELAY_CA")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Write the ticket to this file as well, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Allow-list [default: ~/.config/baton/allowed_clients]
    #[arg(long, value_name = "FILE")]
    pub(crate) allow: Option<PathBuf>,
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

/// The ticket alone, where the whole line was copied.
fn ticket(text: &str) -> Result<String, Infallible> {
    Ok(ticket_file::bare(text).into())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
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
        assert_eq!(exec.ticket.as_deref(), Some("baton1:x"));
        assert!(exec.trace);
        assert_eq!(exec.command, ["ls", "-l"]);
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
        assert_eq!(exec.ticket.as_deref(), Some("baton1:x"));
    }
}
