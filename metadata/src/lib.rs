//! Metadata of processes and threads that is never in the way and never lost.
//!
//! ```text
//! accept ─► Machine: Queue (one merged patch a process and a thread, bounded) ─► the writer's thread ─► Store (SQLite)
//! flush ──►          Barriers (generations) ◄─────────────────────── what was written, what failed ◄─┘
//! ```
//!
//! * [`record`]: what is known of a process and of a thread, as patches that merge;
//! * [`WriterHandle`]: takes them, and waits at barriers; [`start`] gives one, and the [`Writer`] that ends it;
//! * `scheduler`, of `queue` and `barrier`: every decision, without IO;
//! * `writer`: the one thread that waits for the disk; `shared` is between it and the handles;
//! * [`store`]: where it writes to, and what can go wrong there;
//! * [`limits`]: every bound, with its reason and what it can cost.
//!
//! This crate stands apart from the exec-server on purpose: the code that delivers events does not import it, so it cannot wait for
//! a disk. It hands over what happened by a call that returns at once.

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
