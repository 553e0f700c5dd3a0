//! Code that tests and benchmarks share. Its only crate of this workspace is `baton-proto`, so that the tests of every
//! crate can use it.
//!
//! * [`scale`]: the amount of work of a test, and its random seed;
//! * [`wait`]: waiting with a deadline;
//! * [`fault_proxy`]: a TCP proxy that cuts, stalls and slows connections;
//! * [`command_check`]: what holds of every command, whatever happened to its connections;
//! * [`frames`] and [`codec`]: frames and messages without the real encoders;
//! * [`registration`]: an exec-server's proof;
//! * [`scripted_exec`]: an `Exec` service with fixed answers;
//! * [`spans`]: a subscriber that keeps ended spans;
//! * [`collector`]: an OTLP receiver that keeps spans; [`otlp`]: the receiving half that all receivers share;
//! * [`process`]: relay and exec-server as processes, and their use of memory and CPU time;
//! * [`load`]: sequential and concurrent executions;
//! * [`sources`]: the source files of the workspace;
//! * [`limits`]: timeouts and bounds.

pub mod codec;
pub mod collector;
pub mod command_check;
pub mod fault_proxy;
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
