//! One record as OpenTelemetry spans: to a collector over OTLP, or into a file.
//!
//! ```text
//! CallRecord ──► layout (which stages, ids, parents, rounding) ──┬──► wire ──► otlp: gRPC, by a thread of its own
//!                                                                └──► spans ──► json: a trace file ──► read
//! ```
//!
//! * `layout`: which stages become spans, under whom, and when; `rounding` to whole
//!   microseconds;
//! * [`spans`]: their names, attributes, links and status; [`attribute`]: the names of our own attributes;
//! * `wire`: the same spans, encoded for a collector without the detour;
//! * [`resource`]: who speaks;
//! * [`otlp`]: the exporter, from the standard environment variables; [`settings`] reads them;
//! * [`json`] and [`read`]: trace files.
//!
//! Exactly once: a part exports what it measured. A client's record holds the server's stages as well, for the
//! report, but only trace files write them.

pub mod attribute;
mod collector;
pub mod json;
mod layout;
pub mod otlp;
#[cfg(test)]
mod path_tests;
pub mod read;
pub mod resource;
mod rounding;
pub mod settings;
pub mod spans;
mod wire;
mod worker;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use collector::fuzz::ANSWER as COLLECTOR_ANSWER;
pub use otlp::{Exporter, ShutdownReport};
pub use settings::{ExportError, Settings};
