//! Tracing for Baton and for anything mounted on its channel.
//!
//! * [`w3c`]: trace context, tracestate and baggage, and their carriers (gRPC metadata, environment, protobuf);
//! * [`stage`]: the three stage tables, and the stages that a program registers; spans, report, metrics and docs read
//!   them;
//! * [`call`]: a handler's view of its call, and the stages that handler and caller add to it;
//! * [`call_end`]: why a call ended before its handler answered;
//! * [`command`]: the command that a call runs;
//! * [`outcome`]: how a command ended, and whose fault it is if it failed;
//! * [`family`]: runtime families: their markers, and the detector of the first one;
//! * [`recorder`]: hands finished call records to a sink;
//! * [`sampler`]: which traces are recorded;
//! * [`record`]: the measured intervals of one call, in nanoseconds after one anchor;
//! * [`attribute`]: the names of Baton's own span attributes;
//! * [`clock`]: the offset between the clocks of two machines;
//! * [`status`], [`text`]: gRPC status codes by name, and text from a peer, sanitized for a terminal;
//! * [`report`]: coverage, remainder, tree and the terminal waterfall of one record;
//! * [`background`]: lowers the priority of background threads.
//!
//! Nothing here blocks. With tracing off, nothing here runs. This crate has no runtime and reads only the wall clock;
//! readings of the monotonic clock are arguments. `baton-export` reads the monotonic clock, sends records to collectors
//! and files, and connects to `tracing`.

pub mod attribute;
pub mod background;
pub mod call;
pub mod call_end;
pub mod clock;
pub mod command;
pub mod family;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
pub mod outcome;
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
