//! What is told of every process to whoever keeps records of them.
//!
//! The store of records is not this crate's: it is handed in as an [`Observer`], whose methods are plain functions that return nothing, so
//! that no event can wait for a disk. Nothing here can be awaited, and this crate cannot even name the store (a test holds
//! that over its dependency tree). What a client has been sent was told to the observer before: a barrier that the client asks
//! for then covers it.
//!
//! ```text
//! accepted ─┬─► started ─┬─► progressed* ─► exited ─► closed
//!           └─► refused  └─► refused       delivered, once, somewhere after started
//! ```
//!
//! The one exception is asked for: a [`Gate`] is awaited between `accepted` and the spawn, and delays nothing else.

use std::ffi::{CStr, CString};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use baton_channel::key::PublicKey;
use baton_proto::ProcessId;
use baton_trace::record::{Anchor, StageRecord};
use baton_trace::w3c::TraceContext;
use tokio::time::timeout;

use crate::error::StartError;
use crate::limits::DURABLE_TIMEOUT;
use crate::termination::{Close, Exit};

/// Names one process: ids are scoped to their client's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Whose it is.
    pub client: PublicKey,
    /// As the client chose it.
    pub process: ProcessId,
}

/// Takes note of processes. Called on the path of their events: each call has to return within a microsecond, whatever the disk does.
///
/// All times are of this machine's wall clock, in nanoseconds since the Unix epoch.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A start was checked and has its place. Nothing runs yet.
    fn accepted(&self, process: ProcessKey, accepted: &Accepted<'_>);

    /// Nothing runs, and nothing will. After `started` if it turned out only there that the program cannot be executed.
    fn refused(&self, process: ProcessKey, why: &StartError, at_unix_ns: u64);

    /// It runs, or is about to, as this process of the operating system.
    fn started(&self, process: ProcessKey, pid: u32, at_unix_ns: u64);

    /// Its first event is on its way to the client: what would have delayed that may be done from now on.
    fn delivered(&self, process: ProcessKey);

    /// It has had this many events: told within [`PROGRESS_EVERY`](crate::limits::PROGRESS_EVERY) of the first that was not told, unless it ends
    /// before.
    fn progressed(&self, process: ProcessKey, seq: u64);

    /// It has exited.
    fn exited(&self, process: ProcessKey, exit: &Exit);

    /// It has exited and its output is at an end.
    fn closed(&self, process: ProcessKey, exit: &Exit, close: &Close, measured: &Measured<'_>);
}

/// A start, as it was accepted.
#[derive(Debug)]
pub struct Accepted<'a> {
    /// The client's name on the allow-list.
    pub client_name: &'a str,
    /// The program and its arguments; there is a first.
    pub argv: &'a [CString],
    /// `None` is the server's own.
    pub cwd: Option<&'a CStr>,
    /// The thread it belongs to, and what the start says of it.
    pub thread: Option<&'a Thread>,
    /// The position of the `process` span, if the call is traced.
    pub trace: Option<&'a TraceContext>,
    /// Tells this start from another one of the same id (`Start::parameters`).
    pub parameters: &'a [u8; 32],
    /// When.
    pub at_unix_ns: u64,
}

/// What a start says of its thread, within the limits of `baton_proto::limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Not empty.
    pub id: String,
    /// Its title from now on.
    pub title: Option<String>,
    /// Set in its metadata; no key twice.
    pub metadata: Vec<(String, String)>,
}

/// The stages of a call.
#[derive(Debug)]
pub struct Measured<'a> {
    /// What the server measured until now, in nanoseconds after `anchor`.
    pub stages: &'a [StageRecord],
    /// The clocks that the stages count from.
    pub anchor: &'a Anchor,
}

/// Awaited before a spawn: what makes a start durable first, so that a server that crashes cannot run it again.
///
/// It may take its time. After [`DURABLE_TIMEOUT`] the start is refused.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Whether this id may have run before: in an earlier life of this server, or longer ago than the process table remembers.
    fn may_have_run(&self, process: ProcessKey) -> Answer<'_, bool>;

    /// Resolves once all that the observer was told before this call is durable.
    fn durable(&self) -> Answer<'_, ()>;
}

/// What a [`Gate`] answers in its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, NotDurable>> + Send + 'a>>;

/// The store cannot promise anything at the moment. It keeps the cause to itself and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of records cannot promise anything at the moment")]
pub struct NotDurable;

/// Who is told, and what is waited for. Nobody and nothing by default, and then free.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Told of every process.
    pub observer: Option<Arc<dyn Observer>>,
    /// Awaited before every spawn.
    pub gate: Option<Arc<dyn Gate>>,
}

impl Records {
    /// Awaits the gate's word that this id has never run.
    pub(crate) async fn is_new(&self, process: ProcessKey) -> Result<(), StartError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        match timeout(DURABLE_TIMEOUT, gate.may_have_run(process)).await {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true)) => Err(StartError::Lost),
            Ok(Err(NotDurable)) | Err(_) => Err(StartError::NotDurable),
        }
    }

    /// Awaits the gate's word that all that was told is durable.
    pub(crate) async fn durable(&self) -> Result<(), StartError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        match timeout(DURABLE_TIMEOUT, gate.durable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NotDurable)) | Err(_) => Err(StartError::NotDurable),
        }
    }
}
