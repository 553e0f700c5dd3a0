//! Serves any tonic service over an end-to-end encrypted Noise channel through a relay, with tracing.
//!
//! * A server holds a [`key::Seed`], registers with a relay, and hands out a [`ticket::Ticket`]: [`Server`].
//! * A client dials with the ticket and its own key and gets a channel for tonic's generated clients: [`Channel`].
//!
//! The layers below:
//!
//! * [`baton_mux`]: calls as streams of frames; sans-IO;
//! * [`baton_noise`]: the encrypted session and its keys; sans-IO;
//! * `service`: connects both to tonic;
//! * `outer`: frames Noise messages for a relay;
//! * `link`: dials, registers and accepts through a relay.
//!
//! `examples/health.rs` mounts a service.

pub mod allow;
mod channel;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod limits;
mod link;
mod outer;
mod server;
mod service;
pub mod slots;
pub mod ticket;

pub use baton_noise::{KeyLimit, RekeyPolicy, key};
pub use channel::{Channel, ChannelConfig, OnWaiting};
pub use link::dial::ConnectError;
pub use link::endpoint::{RelayError, is_exposed};
pub use link::health::{HealthError, check_exec_server, check_relay};
pub use link::network::Network;
pub use link::register::RegisterError;
pub use link::tls::roots::{RelayRoots, RootsError};
pub use server::revocations::Revocations;
pub use server::{Notice, Server, ServerConfig, ServerError};
pub use service::client::RecordTo;
pub use service::record::Envelope;
pub use service::server::Service;
pub use service::{ResponseBody, Routes, SessionError};
