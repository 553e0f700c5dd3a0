//! From traces to decisions.
//!
//! * [`model`]: one trace in memory;
//! * [`analysis`]: where the time of many calls went;
//! * [`history`]: the commands of an exec-server's history, as traces;
//! * [`check`]: whether a trace is complete and every span is in its place;
//! * [`read`]: traces from files, OTLP/JSON and Jaeger's JSON;
//! * [`jaeger_search`]: what to ask a Jaeger for its traces, and what it answers;
//! * [`record`]: the call records in a trace, for the waterfall;
//! * [`compare`]: two recordings, stage by stage;
//! * [`gate`]: a verdict by rules;
//! * [`runs`]: what `compare` and `gate` compute from;
//! * [`stages`]: the names of stages, and suggestions for misspelt ones;
//! * [`stats`]: quantiles, sketches, and tests that resample whole blocks;
//! * [`limits`]: every limit, with its reason.
//!
//! Only `read` opens files. Nothing here reads a clock or draws from the system's randomness: the same input gives the
//! same result, to the last byte.

pub mod analysis;
pub mod check;
pub mod compare;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod gate;
pub mod history;
pub mod jaeger_search;
pub mod limits;
pub mod model;
pub mod read;
pub mod record;
pub mod runs;
#[cfg(test)]
mod simulation;
pub mod stages;
pub mod stats;

#[cfg(test)]
mod test_traces;
