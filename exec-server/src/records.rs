//! Reports every process to an observer, which may store it.
//!
//! The store is not part of this crate. It implements [`Observer`], whose methods are plain functions without a result,
//! so that no event can wait for a disk. This crate does not depend on the store; a test checks its dependency tree.
//! The observer is called before the client is sent an event, so that a barrier which the client requests covers
//! everything that the client has seen.
//!
//! ```text
//! accepted ─┬─► started ─┬─► progressed* ─► exited ─► closed
//!           └─► refused  └─► refused       delivered, once, after started
//! ```
//!
//! One exception is optional: a [`Gate`] is awaited between `accepted` and the spawn. It delays nothing else.

use std::ffi::{CStr, CString};
use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;

use baton_channel::key::PublicKey;
use baton_proto::ProcessId;
use baton_trace::family::FamilySummary;
use baton_trace::record::{Anchor, StageRecord};
use baton_trace::w3c::TraceContext;
use tokio::time::timeout;

use crate::error::StartError;
use crate::limits::DURABLE_TIMEOUT;
use crate::termination::{Close, Exit};

/// Identifies one process: ids are scoped to their client's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// The client that started it.
    pub client: PublicKey,
    /// The id that the client chose.
    pub process: ProcessId,
}

/// Observes processes. It is called on the path of their events: each call has to return within a microsecond, whatever
/// the disk does.
///
/// All times are read from this machine's wall clock, in nanoseconds since the Unix epoch.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A start was checked and has a slot. Nothing runs yet.
    fn accepted(&self, process: ProcessKey, accepted: &Accepted<'_>);

    /// Nothing runs, and nothing will. This follows `started` if the exec of the program fails after the spawn.
    fn refused(&self, process: ProcessKey, why: &StartError, at_unix_ns: u64);

    /// The process was created with this process id of the operating system. Its exec may still be pending.
    fn started(&self, process: ProcessKey, pid: u32, at_unix_ns: u64);

    /// Its first event was handed to the transport. Work that would have delayed the event may begin.
    fn delivered(&self, process: ProcessKey);

    /// The `seq` of its last event, reported within [`PROGRESS_EVERY`](crate::limits::PROGRESS_EVERY) of the first
    /// event that was not reported, unless the process ends before.
    fn progressed(&self, process: ProcessKey, seq: u64);

    /// It has exited.
    fn exited(&self, process: ProcessKey, exit: &Exit);

    /// It has exited and its output is at an end.
    fn closed(&self, process: ProcessKey, exit: &Exit, close: &Close, measured: &Measured<'_>);
}

/// An accepted start.
#[derive(Debug)]
pub struct Accepted<'a> {
    /// The client's name on the allow-list.
    pub client_name: &'a str,
    /// The program and its arguments; not empty.
    pub argv: &'a [CString],
    /// `None` is the server's own.
    pub cwd: Option<&'a CStr>,
    /// The thread it belongs to, with the changes that the start makes to it.
    pub thread: Option<&'a Thread>,
    /// The turn of the caller's loop, at most [`TURN_MAX`](baton_proto::limits::TURN_MAX).
    pub turn: Option<NonZeroU64>,
    /// The step of that turn: not empty, at most [`STEP_ID_MAX`](baton_proto::limits::STEP_ID_MAX) bytes.
    pub step: Option<&'a str>,
    /// The position of the `process` span, if the call is traced.
    pub trace: Option<&'a TraceContext>,
    /// Distinguishes this start from another one with the same id (`Start::parameters`).
    pub parameters: &'a [u8; 32],
    /// When.
    pub at_unix_ns: u64,
}

/// The thread that a start names, within the limits of `baton_proto::limits`.
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
    /// What the command's family measured, if its start named one.
    pub family: Option<FamilySummary>,
}

/// Awaited before a spawn. It makes the start durable first, so that a restarted server cannot run it again.
///
/// After [`DURABLE_TIMEOUT`] the start is refused.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Whether this id may have run before: in an earlier epoch of this server, or before the oldest process that the
    /// process table remembers.
    fn may_have_run(&self, process: ProcessKey) -> Answer<'_, bool>;

    /// Resolves once everything that the observer received before this call is durable.
    fn durable(&self) -> Answer<'_, ()>;
}

/// The answer of a [`Gate`].
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, NotDurable>> + Send + 'a>>;

/// The store cannot make anything durable at the moment. The cause stays with the store and is logged there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of records cannot make anything durable at the moment")]
pub struct NotDurable;

/// The observer of processes and the gate of their starts. Without them, which is the default, they cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Receives every process.
    pub observer: Option<Arc<dyn Observer>>,
    /// Awaited before every spawn.
    pub gate: Option<Arc<dyn Gate>>,
}

impl Records {
    /// Asks the gate whether this id has ever run.
    pub(crate) async fn is_new(&self, process: ProcessKey) -> Result<(), StartError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        match timeout(DURABLE_TIMEOUT, gate.may_have_run(process)).await {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true)) => Err(StartError::Lost),
            Ok(Err(NotDurable)) | Err(_) => Err(StartError::NotDurable),
        }
    }

    /// Waits until the gate reports everything observed as durable.
    pub(crate) async fn durable(&self) -> Result<(), StartError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        match timeout(DURABLE_TIMEOUT, gate.durable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NotDurable)) | Err(_) => Err(StartError::NotDurable),
        }
    }
}
