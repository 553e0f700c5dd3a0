//! `baton exec-server`.

use std::path::PathBuf;
use std::time::Duration;

use baton_metadata::store::retention::Retention;

use super::values::{grace, memory, stop_timeout, up_to, utf8};
use crate::limits::{MAX_PROCESSES_MAX, MAX_SESSIONS_MAX};

#[derive(clap::Args)]
#[command(after_help = "\
The allow-list has one client per line: its public key, a name, and the trust in its trace context (continue, clamp or
restart). The exec-server reads it again for every client. When a line is removed, the client's sessions end within a
second. An invalid line refuses only its own client. If other users can change the list or its directory, no client is
accepted. A client prints its line with `baton keygen`, or when it is refused.

Options before the key limit a client, as in authorized_keys of OpenSSH: `expires=\"20271231Z\"` (or 202712311800Z, or
2027-12-31T18:00:00Z; always UTC) ends its sessions at that time. With `command=\"/usr/bin/backup\"` it may run that
shell command and nothing else, which finds the requested arguments in BATON_ORIGINAL_COMMAND. With `user=\"build\"` its
commands run as that user, and file services such as `baton cp` are refused; the exec-server has to run as root. Several
options are separated by commas, without spaces. An unknown option makes the line invalid:
  expires=\"20271231Z\",user=\"backup\",command=\"/usr/bin/backup\" KEY NAME clamp

The ticket is printed to standard output, or with --ticket-file written to that file only: use it if standard output
goes to a log. The ticket stays the same for the same key and relay, until `baton ticket rotate`. It is a secret.

On Ctrl-C or SIGTERM no further command is accepted, and running ones have two seconds to end (--stop-timeout); the same
signal again kills them at once.

Examples:
  baton exec-server --relay http://relay.example:7700
  baton exec-server --relay http://relay.example:7700 --ticket-file ticket --stop-timeout 10m")]
pub(crate) struct ExecServerArgs {
    /// The relay to register with
    #[arg(long, value_name = "URL")]
    pub(crate) relay: String,
    /// Key file; created at first use [default: ~/.config/baton/exec_server_key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Verify a relay dialled by https with the certificates of this PEM file only [env: BATON_RELAY_CA] [default: the
    /// system's certificates]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Write the ticket to this file, which only its owner can read, and not to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Allow-list [default: ~/.config/baton/allowed_clients]
    #[arg(long, value_name = "FILE")]
    pub(crate) allow: Option<PathBuf>,
    /// Run commands as this user: its groups, home, shell and a login environment, so that they cannot read this
    /// exec-server's own files. A client whose allow-list line has `user=` runs them as that one. Needs root, or to be
    /// that user. File services such as `baton cp` are refused
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Directory for records of commands, or `none` to keep them in memory until this exec-server ends [default:
    /// ~/.local/state/baton/ID, where ID is the exec-server's id]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Maximum age and total size of records; `all` keeps everything. In memory the default size is 32MiB and the
    /// maximum 512MiB [default: 30d,1GiB]
    #[arg(long, value_name = "AGE,SIZE")]
    pub(crate) retain: Option<Retention>,
    /// When a record must be on disk: `start` delays each command until its record is on disk, so that a crash never
    /// runs a command twice
    #[arg(long, value_enum, default_value_t = Durability::Async)]
    pub(crate) durability: Durability,
    /// How commands are started: `clone` is independent of the exec-server's memory, `std` (fork) takes longer the more
    /// memory it uses but works in every sandbox, `auto` uses `clone` if a trial at the start succeeds
    #[arg(long, value_name = "HOW", value_enum, default_value_t = SpawnMethod::Auto)]
    pub(crate) spawn: SpawnMethod,
    /// Give every command a cgroup of its own below this directory of a cgroup v2 file system, so that a kill reaches all
    /// of its descendants. The exec-server has to own the directory, as a service of systemd with Delegate=yes owns that
    /// of its unit, and no other exec-server uses it. Needs Linux 5.14
    #[arg(long, value_name = "DIR")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Maximum memory of a command and its descendants, without swap: beyond it the kernel kills one of them. Needs
    /// --cgroup, and the memory controller for the cgroups below its directory
    #[arg(long, value_name = "SIZE", requires = "cgroup", value_parser = utf8(memory))]
    pub(crate) memory_max: Option<usize>,
    /// Maximum number of running commands, of all clients together. A client's key may start a command while it runs
    /// fewer than three times the number of free slots, so one key alone gets three quarters. A command takes about 40
    /// KiB, or at most 4.3 MiB if its client stalls it on purpose: 4.4 GiB for 1024
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PROCESSES, value_parser = up_to(MAX_PROCESSES_MAX))]
    pub(crate) max_processes: u32,
    /// Longest time that a command may run on after its client's connection is lost; a client asks for less, or for
    /// none (`baton exec --grace`). Such a command still counts as running [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = utf8(grace))]
    pub(crate) max_grace: Option<Duration>,
    /// Time that running commands have to end when this exec-server is stopped, like 10m where it runs builds; a service
    /// manager has to wait longer. A command whose client's connection is lost has none [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = utf8(stop_timeout))]
    pub(crate) stop_timeout: Option<Duration>,
    /// Maximum number of sessions (connected clients), divided by client key: one key alone gets four fifths. A relay
    /// forwards at most 2,176, including those that wait or are refused. An idle session takes about 60 KiB (1,024: 60
    /// MiB), and one whose client stalls all its 256 calls on purpose 580 MiB
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SESSIONS, value_parser = up_to(MAX_SESSIONS_MAX))]
    pub(crate) max_sessions: u32,
}

/// The default of `--max-processes`.
const DEFAULT_PROCESSES: u32 = baton_exec_server::limits::MAX_PROCESSES as u32;

/// The default of `--max-sessions`.
const DEFAULT_SESSIONS: u32 = baton_channel::limits::EXEC_SERVER_SESSIONS as u32;

/// How an exec-server starts commands.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SpawnMethod {
    /// `clone` if it works here, otherwise `std`
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
    /// Soon after the start; no command waits
    Async,
    /// Before the command starts
    Start,
}
