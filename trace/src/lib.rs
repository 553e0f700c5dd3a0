//! Tracing for Baton and for anything mounted on its channel.
//!
//! * [`w3c`]: trace context, tracestate and baggage, and their carriers (gRPC metadata, environment, protobuf);
//! * [`stage`]: the three tables of stages; spans, report, metrics and docs read them;
//! * [`call`]: what a handler knows of the call it serves, and adds to it;
//! * [`call_end`]: why a call ended before its handler had answered it;
//! * [`subject`]: the command that a call runs, and how it ended;
//! * [`recorder`]: where finished records go;
//! * [`sampler`]: which traces are recorded;
//! * [`record`]: what one call measured, as plain nanoseconds from one anchor;
//! * [`clock`]: the offset between two machines' clocks;
//! * [`answer`]: a gRPC peer's answer, before tonic reads it;
//! * [`status`], [`text`]: gRPC status codes by name, and a peer's text made safe for a terminal;
//! * [`report`]: coverage, remainder, tree and the terminal waterfall of one record;
//! * [`export`]: the same record as OpenTelemetry spans, to a collector or a file;
//! * [`background`]: threads whose work nobody waits for;
//! * [`bridge`]: to and from the `tracing` spans of callers and handlers.
//!
//! Nothing here blocks, and with tracing off nothing here runs.

pub mod answer;
pub mod background;
pub mod bridge;
pub mod call;
pub mod call_end;
pub mod clock;
pub mod export;
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
pub mod subject;
pub mod text;
pub mod w3c;

pub use opentelemetry::{SpanId, TraceFlags, TraceId};
