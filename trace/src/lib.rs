//! Tracing for Baton and for anything mounted on its channel.
//!
//! * [`w3c`]: trace context, tracestate and baggage, and their carriers (gRPC metadata, environment, protobuf);
//! * [`stage`]: the three tables of stages, and those that a program registers; spans, report, metrics and docs read them;
//! * [`call`]: what a handler knows of the call it serves, and the stages that handler and caller add to it;
//! * [`call_end`]: why a call ended before its handler had answered it;
//! * [`command`]: the command that a call runs, and how it ended;
//! * [`recorder`]: where finished records go;
//! * [`sampler`]: which traces are recorded;
//! * [`record`]: what one call measured, as plain nanoseconds from one anchor;
//! * [`attribute`]: the names of Baton's own span attributes;
//! * [`clock`]: the offset between two machines' clocks;
//! * [`status`], [`text`]: gRPC status codes by name, and a peer's text made safe for a terminal;
//! * [`report`]: coverage, remainder, tree and the terminal waterfall of one record;
//! * [`background`]: threads whose work nobody waits for.
//!
//! Nothing here blocks, and with tracing off nothing here runs. There is no runtime in this crate and no clock but the wall's: readings of the
//! monotonic clock are arguments. `baton-export` reads it, sends records to collectors and files, and joins `tracing`.

pub mod attribute;
pub mod background;
pub mod call;
pub mod call_end;
pub mod clock;
pub mod command;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
pub mod record;
pub mod recorder;
pub mod report;
pub mod sampler;
pub mod stage;
pub mod status;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod test_records;
pub mod text;
pub mod w3c;

pub use opentelemetry::{SpanId, TraceFlags, TraceId};
