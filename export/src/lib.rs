//! Exports the records of `baton-trace` as OpenTelemetry spans, to a collector over OTLP or to a file. Also connects to
//! the `tracing` spans of callers and handlers, and reads the clock of a tokio runtime.
//!
//! ```text
//! CallRecord ──► layout (which stages, ids, parents, rounding) ──┬──► wire ──► outbox ──► collector: gRPC, by a thread of its own
//!                                                                │              └─────► spool: a later run's collector
//!                                                                └──► spans ──► json: a trace file
//! ```
//!
//! * [`clock`]: the clock that every measurement and every deadline reads;
//! * [`bridge`]: converts contexts to and from `tracing` spans of callers and handlers;
//! * [`response_guard`]: removes headers of a gRPC response that would make tonic panic;
//! * `layout`: selects the stages that become spans, with ids, parents and times; `rounding` to whole microseconds;
//! * [`spans`]: their names, attributes, links and status; Baton's own attributes are in [`baton_trace::attribute`];
//! * `encoding`: encodes the same spans for a collector directly;
//! * [`resource`]: the resource of each component;
//! * [`otlp`]: the exporter; [`settings`] reads the standard environment variables, `worker` is its thread, `state` its
//!   shared state, `outbox` the spans to deliver, `collector` the connection, [`failure`] why a delivery failed;
//! * [`exit()`]: ends a process without waiting long for a collector; [`spool`]: stores undelivered spans; `drain`
//!   sends them later;
//! * [`json`]: trace files. `baton-analyze` reads them.
//!
//! Each span is exported exactly once: a component exports the stages that it measured. A client's record also has the
//! server's stages, for the report, but only trace files contain them.

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
