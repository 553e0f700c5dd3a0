//! `baton exec-server`.

use std::path::PathBuf;

use baton_metadata::store::retention::Retention;

use crate::limits::{MAX_PROCESSES_MAX, MAX_SESSIONS_MAX};

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
