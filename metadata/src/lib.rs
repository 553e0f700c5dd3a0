//! Metadata of processes and threads. Event delivery never waits for it, and no loss goes unreported.
//!
//! ```text
//! accept ─► WriteScheduler: Queue (one merged patch a process and a thread, bounded) ─► writer thread ─► Store (SQLite)
//! flush ──►                 Barriers (generations) ◄──────────────────────── result of each write ◄─┘
//! ```
//!
//! * [`record`]: the record of a process and the metadata of a thread, as patches that merge;
//! * [`WriterHandle`]: accepts patches and waits at barriers; [`start`] returns one together with its [`Writer`];
//! * `scheduler`, with `queue` and `barrier`: every decision, without IO;
//! * `writer`: the one thread that waits for the disk; `shared` is the state that it shares with the handles;
//! * [`store`]: the interface to the disk, its SQLite implementation and its errors;
//! * [`limits`]: every bound, with its reason and its cost.
//!
//! This crate is separate from the exec-server on purpose: the code that delivers events does not import it, so it
//! cannot wait for a disk. It passes events to an observer by a call that returns at once.

mod barrier;
pub mod batch;
mod deallocator;
mod facts;
mod gate;
mod generation;
mod handle;
pub mod limits;
mod link;
mod metadata;
mod observer;
mod queue;
pub mod record;
mod scheduler;
pub mod service;
mod shared;
mod spans;
pub mod store;
mod writer;

pub use barrier::{FlushError, Flushed};
pub use batch::Batch;
pub use gate::DurableStartGate;
pub use generation::Generation;
pub use handle::{NotDurable, NotDurableCause, WriterHandle};
pub use link::Link;
pub use metadata::{Durability, Health, HealthEvent, Metadata, MetadataError, OpenReport};
pub use observer::MetadataObserver;
pub use record::{ProcessPatch, ThreadPatch, Update};
pub use scheduler::{AcceptError, WriterStats};
pub use service::MetadataService;
pub use store::{Store, WriteError};
pub use writer::{ShutdownReport, Writer, start};
