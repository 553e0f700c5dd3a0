//! What tests and benchmarks share. It knows the wire (`baton-proto`) and the `baton` binary, and no other crate, so
//! that the tests of every crate can use it.
//!
//! * [`scale`]: how much a test does, and from which seed;
//! * [`wait`]: waiting with a deadline;
//! * [`frames`] and [`codec`]: frames and messages by hand;
//! * [`registration`]: an exec-server's proof, by hand;
//! * [`scripted_exec`]: an `Exec` service with fixed answers;
//! * [`spans`]: a subscriber that keeps ended spans;
//! * [`collector`]: an OTLP receiver that keeps spans; [`otlp`]: the receiving half that all receivers share;
//! * [`process`]: relay and exec-server as processes, and what they use of the machine;
//! * [`load`]: executions one after the other, or many at once;
//! * [`sources`]: the source files of the workspace;
//! * [`limits`]: how long anything here waits.

pub mod codec;
pub mod collector;
pub mod frames;
pub mod limits;
pub mod load;
pub mod otlp;
pub mod process;
pub mod registration;
pub mod scale;
pub mod scripted_exec;
pub mod sources;
pub mod spans;
pub mod wait;
