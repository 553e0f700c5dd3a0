//! What crosses crates: support for end-to-end tests and benchmarks.
//!
//! * [`amount`]: how much a test does, and from which seed;
//! * [`collector`]: an OTLP receiver that keeps spans, for tests;
//! * [`sink`]: an OTLP receiver that counts and drops them, for benchmarks;
//! * [`process`]: the parts of a run as processes of their own, and what they use of the machine;
//! * [`load`]: one execution after the other, or many at once;
//! * [`floor`]: what an execution costs without Baton;
//! * [`link`]: a long, narrow link;
//! * [`ssh`]: a private OpenSSH server, and clients of it;
//! * [`network`]: a loopback with a congestion control of its own;
//! * [`stats`]: interleaved rounds, intervals and verdicts;
//! * [`bench`](mod@bench): what the benchmarks share beyond that;
//! * [`limits`]: how long anything here waits.

pub mod amount;
pub mod bench;
pub mod collector;
pub mod floor;
pub mod limits;
pub mod link;
pub mod load;
pub mod network;
mod otlp;
pub mod process;
pub mod sink;
pub mod ssh;
pub mod stats;
