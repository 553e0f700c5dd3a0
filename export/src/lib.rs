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
//! * `encoding`: the same spans, encoded for a collector without the detour;
//! * [`resource`]: who speaks;
//! * [`otlp`]: the exporter, from the standard environment variables; [`settings`] reads them; `worker` is its thread, `state` what they share,
//!   `outbox` what it owes, `collector` the connection, [`failure`] what is wrong with it;
//! * [`exit()`]: how a process ends without waiting for a collector; [`spool`]: what is left then; `drain` sends it later;
//! * [`json`] and [`read`]: trace files.
//!
//! Exactly once: a part exports what it measured. A client's record holds the server's stages as well, for the
//! report, but only trace files write them.

pub mod bridge;
pub mod clock;
mod collector;
#[cfg(test)]
mod critical_path_tests;
mod drain;
mod encoding;
pub mod exit;
pub mod failure;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod json;
mod layout;
pub mod limits;
pub mod otlp;
mod outbox;
pub mod read;
pub mod resource;
pub mod response_guard;
mod rounding;
pub mod settings;
pub mod spans;
pub mod spool;
mod state;
mod worker;

pub use exit::{ExitOptions, ExitReport, exit};
pub use failure::ExportFailure;
pub use otlp::{Exporter, ExporterOptions, ShutdownReport};
pub use settings::{ExportError, ExporterSettings};
pub use spool::{Spool, SpoolError};
pub use state::SpanLossCallback;
