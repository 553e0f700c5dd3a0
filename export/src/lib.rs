//! One record as OpenTelemetry spans: to a collector over OTLP, or into a file.
//!
//! ```text
//! CallRecord ──► layout (which stages, ids, parents, rounding) ──┬──► wire ──► outbox ──► collector: gRPC, by a thread of its own
//!                                                                │              └─────► spool: a later run's collector
//!                                                                └──► spans ──► json: a trace file ──► read
//! ```
//!
//! * `layout`: which stages become spans, under whom, and when; `rounding` to whole
//!   microseconds;
//! * [`spans`]: their names, attributes, links and status; [`attribute`]: the names of our own attributes;
//! * `wire`: the same spans, encoded for a collector without the detour;
//! * [`resource`]: who speaks;
//! * [`otlp`]: the exporter, from the standard environment variables; [`settings`] reads them; `worker` is its thread,
//!   `outbox` what it owes, `collector` the connection, [`trouble`] what is wrong with it;
//! * [`exit()`]: how a process ends without waiting for a collector; [`spool`]: what is left then; `drain` sends it later;
//! * [`json`] and [`read`]: trace files.
//!
//! Exactly once: a part exports what it measured. A client's record holds the server's stages as well, for the
//! report, but only trace files write them.

pub mod attribute;
mod collector;
mod drain;
pub mod exit;
pub mod json;
mod layout;
pub mod otlp;
mod outbox;
#[cfg(test)]
mod path_tests;
pub mod read;
pub mod resource;
mod rounding;
pub mod settings;
pub mod spans;
pub mod spool;
pub mod trouble;
mod wire;
mod worker;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use collector::fuzz::ANSWER as COLLECTOR_ANSWER;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use spool::fuzz::SPOOL_FILE;

pub use exit::{Exit, ExitReport, exit};
pub use otlp::{Exporter, Options, ShutdownReport};
pub use settings::{ExportError, Settings};
pub use spool::{Spool, SpoolError};
pub use trouble::Trouble;
pub use worker::OnDrop;
