//! Runs commands on a remote machine through a relay that cannot read them.
//!
//! A [`Client`] holds one warm, end-to-end encrypted session to one exec-server, which concurrent calls share. It
//! reconnects after a loss. [`Client::run`] runs a command as a future; [`Client::start`] runs it as a stream of events
//! with a writer for its standard input, and [`Run::signal`] sends it signals. [`Client::processes`] lists those that
//! run, and [`Client::records`] returns records of earlier commands. [`Client::files`] looks at, reads, writes and copies
//! files, [`Client::workspace`] finds the root of a project, and a [`Thread`] asks git what a turn changed.
//!
//! ```no_run
//! use baton_core_client::{Client, Command, Seed};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let ticket = std::env::var("BATON_TICKET")?.parse()?;
//! let (seed, _) = Seed::read_or_create("client_key".as_ref())?;
//! let client = Client::new(ticket, seed.client_key()?);
//! let output = client.run(Command::new("uname").arg("-a")).await?;
//! println!("{:?} {}", output.status, String::from_utf8_lossy(&output.stdout));
//! # Ok(())
//! # }
//! ```

mod client;
mod command;
mod copy;
mod error;
mod files;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
mod marker;
mod memory;
mod outbox;
mod processes;
mod receipts;
mod records;
mod recovery;
mod run;
mod signal;
mod stdin;
mod terminal;
mod thread;
pub mod warm;
mod watch;
mod workspace;

pub use baton_channel::key::{PublicKey, Seed, StaticKey};
pub use baton_channel::ticket::{Ticket, TicketError};
pub use baton_channel::{
    ChannelConfig, ConnectError, OnWaiting, RecordTo, RelayError, RelayRoots, RootsError, SessionError,
};
pub use baton_proto::{ProcessId, Signal, UnknownSignal};
pub use baton_trace::TraceId;
pub use baton_trace::call_end::CallEnd;
pub use baton_trace::family::Family;
pub use baton_trace::outcome;
pub use baton_trace::w3c::Traceparent;
pub use client::{Client, Output, PingedSession};
pub use command::{Command, OnFull};
pub use copy::{CopyError, CopyEvent, CopyMeter, CopyOptions, CopyProgress, FileCopy};
pub use error::{ProcessError, RunError, StartFailure};
pub use files::{
    DirectoryEntry, FileEnd, FileHash, FileKind, FilePart, FilePlace, FileReader, FileSelection, FileStatus,
    FileWriter, Files, FilesError, FilesFailure, FoundEntry, FoundLine, GlobEnd, GlobOptions, GlobResults,
    GrepEnd, GrepOptions, GrepResults, Listing, PassedOver, ProjectRoot, SearchTruncation, Stat, Unreadable,
    UnreadableReason, UpwardSearch, WriteCondition, WriteOptions, Written,
};
pub use marker::MarkerError;
pub use memory::keep_freed_memory;
pub use records::{Pages, Records, RecordsError};
pub use recovery::{OnRecovery, Recovery};
pub use run::{Event, ExitStatus, ProcessExit, Run};
pub use signal::Signaller;
pub use stdin::{Stdin, StdinError};
pub use terminal::{Resizer, WindowSize};
pub use thread::{ChangedFile, Changes, ChangesError, Diff, RepositoryChanges, Thread};
pub use watch::Watch;
pub use workspace::Workspace;

/// Compiles the guide's examples.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/library.md")]
struct Guide;
