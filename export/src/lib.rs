//! What `baton-trace` measures, handed to others: one record as OpenTelemetry spans, to a collector over OTLP or into a file; the `tracing`
//! spans of callers and handlers; and the clock of a tokio runtime.
//!
//! ```text
//! CallRecord ──► layout (which stages, ids, parents, rounding) ──┬──► wire ──► outbox ──► collector: gRPC, by a thread of its own
//!                                                                │              └─────► spool: a later run's collector
//!                                                                └──► spans ──► json: a trace file ──► read
//! ```
//!
//! * [`clock`]: the clock that every measurement and every deadline reads;
//! * [`bridge`]: to and from the `tracing` spans of callers and handlers;
//! * [`response_guard`]: a gRPC peer's answer, before tonic reads it;
//! * `layout`: which stages become spans, under whom, and when; `rounding` to whole
//!   microseconds;
//! * [`spans`]: their names, attributes, links and status; the names those of our own are in [`baton_trace::attribute`];
//! * `wire`: the same spans, encoded for a collector without the detour;
//! * [`resource`]: who speaks;
//! * [`otlp`]: the exporter, from the standard environment variables; [`settings`] reads them; `worker` is its thread, `shared` what they share,
//!   `outbox` what it owes, `collector` the connection, [`trouble`] what is wrong with it;
//! * [`exit()`]: how a process ends without waiting for a collector; [`spool`]: what is left then; `drain` sends it later;
//! * [`json`] and [`read`]: trace files.
//!
//! Exactly once: a part exports what it measured. A client's record holds the server's stages as well, for the
//! report, but only trace files write them.

pub mod bridge;
pub mod clock;
mod collector;
mod drain;
pub mod exit;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod json;
mod layout;
pub mod limits;
pub mod otlp;
mod outbox;
#[cfg(test)]
mod path_tests;
pub mod read;
pub mod resource;
pub mod response_guard;
mod rounding;
pub mod settings;
mod shared;
pub mod spans;
pub mod spool;
pub mod trouble;
mod wire;
mod worker;

pub use exit::{Exit, ExitReport, exit};
pub use otlp::{Exporter, Options, ShutdownReport};
pub use settings::{ExportError, Settings};
pub use shared::OnDrop;
pub use spool::{Spool, SpoolError};
pub use trouble::Trouble;
