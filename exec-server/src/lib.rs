//! Runs processes for clients: the service `baton.exec.v1.Exec`.
//!
//! * [`server`]: the whole of it, mounted on a channel, with an end in order;
//! * [`service`]: the RPCs, from a checked `Start` to the stream of events;
//! * [`process`]: one process from spawn to reaping, and the table of all of them;
//! * [`log`]: the bounded, ordered log of one process's events, as a pure state machine;
//! * [`records`]: what is told of every process to whoever keeps records, without ever waiting for them;
//! * [`termination`]: how a process ended;
//! * [`limits`]: every bound, with its reason and what it can cost.
//!
//! The service is an ordinary tonic service. `baton_channel::Server` says who is calling by an `Arc<Peer>` in the request's
//! extensions, and adds an `Arc<ServerCall>` to have stages measured and the trace handed on.

mod error;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
pub mod log;
pub mod process;
pub mod records;
pub mod server;
pub mod service;
mod settings;
pub mod termination;

pub use baton_spawn::{CloneUnavailable, Method as SpawnMethod};
pub use error::{InvalidStart, RequestError, StartError};
pub use server::{ExecServer, Shutdown};
pub use service::ExecService;
pub use settings::{Directory, Settings};
