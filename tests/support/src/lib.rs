//! What tests and benchmarks share.
//!
//! * [`amount`]: how much a test does, and from which seed;
//! * [`collector`]: an OTLP receiver that keeps spans, for tests;
//! * [`otlp`]: the receiving end of OTLP that all receivers share;
//! * [`process`]: the parts of a run as processes of their own, and what they use of the machine;
//! * [`sources`]: the source files of the workspace;
//! * [`load`]: one execution after the other, or many at once;
//! * [`limits`]: how long anything here waits.

pub mod amount;
pub mod collector;
pub mod limits;
pub mod load;
pub mod otlp;
pub mod process;
pub mod sources;
