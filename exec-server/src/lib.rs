//! Runs processes for clients, the service `baton.exec.v1.Exec`, and reads and writes files, `baton.files.v1.Files`.
//!
//! * [`server`]: a complete exec-server, mounted on a channel, with an ordered shutdown;
//! * [`service`]: the RPCs, from a checked `Start` to the stream of events;
//! * [`files`]: looks at, reads and writes files, in threads that the file system may hold up;
//! * [`process`]: one process from spawn to reaping, and the table of all of them;
//! * `warm`: the service `baton.warm.v1.Warm`, a board of what clients keep warm;
//! * `restricted`: what a client with a forced command, or of another user, may call;
//! * `cgroup`: the cgroups of processes, where they have some;
//! * `user`: the user that a client's commands run as;
//! * [`log`]: the bounded, ordered log of one process's events, as a pure state machine;
//! * [`records`]: reports every process to an observer, without waiting for it;
//! * [`termination`]: how a process ended;
//! * [`limits`]: every bound, with its reason and what it can cost.
//!
//! Both services are ordinary tonic services. `baton_channel::Server` adds the caller as `Arc<Peer>` to the request's
//! extensions, and an `Arc<ServerCall>`, in which stages are recorded and which carries the trace context.

mod cgroup;
mod error;
mod event_body;
pub mod files;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
pub mod log;
pub mod process;
pub mod records;
mod refusal;
mod restricted;
pub mod server;
pub mod service;
mod settings;
pub mod termination;
mod user;
mod warm;

pub use baton_spawn::{CloneUnavailable, Method as SpawnMethod};
pub use cgroup::{CgroupError, Cgroups, MemoryUnavailable};
pub use error::{AttachError, InvalidStart, RequestError, SignalError, StartError};
pub use files::FilesService;
pub use server::{ExecServer, Shutdown};
pub use service::ExecService;
pub use settings::{Directory, Settings};
pub use user::{OnUserRefused, UserError, UserRefused, check_user};
pub use warm::WarmService;
