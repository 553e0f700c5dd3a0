//! The relay: pairs a client that dials with an exec-server that registered, and splices their two gRPC streams.
//!
//! It is blind. It sees ids, sizes and timing; it never holds a Noise key and cannot tell the calls of a session apart.
//!
//! From the bottom up; a module names only those before it:
//!
//! - [`limits`] says what each bound protects and what it can cost. `budget` is the relay's memory, `held` that of one session, `slots` and
//!   `network` count places.
//! - `headers` reads a request's headers, `inbound` its body.
//! - `frames` cuts a body into frames, stamps each, and bounds the queue in which they wait; payloads are not copied.
//! - `registry` is the exec-servers that are registered.
//! - `places` is where dials wait for a place; `sessions` is the dials that wait for their `Accept`, and the sessions.
//! - `splice` moves the frames of a session from body to body, and nothing is ever dropped in silence.
//! - `state` is all of that for one relay.
//! - `register` proves an exec-server's key and keeps its stream; `dial` and `accept` are the two halves of a pairing; `health` answers health
//!   checks.
//! - `service` routes the three methods of `baton.relay.v1.Relay`, `wire` is HTTP/2 on one connection, `listener` takes connections, `tls` may
//!   wrap them, `server` serves them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use baton_relay::{Config, Relay};
//!
//! let relay = Relay::bind("127.0.0.1:0".parse()?, Config::default()).await?;
//! println!("listening on {}", relay.local_addr());
//! relay.serve(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod accept;
mod allowed_servers;
mod config;
mod connection;
mod dial;
mod dial_queue;
mod direction;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod health;
mod http2;
pub mod limits;
mod listener;
mod memory_budget;
mod metrics;
mod network;
mod origin;
mod refusal;
mod register;
mod registry;
mod rejected_connections;
mod request_body;
mod response_body;
mod sanitized_text;
mod server;
mod service;
mod session_memory;
mod sessions;
mod slots;
mod splice;
mod state;
mod tls;

pub use allowed_servers::{AllowedServers, AllowedServersError};
pub use config::Config;
pub use limits::Limits;
pub use listener::{AcceptedConnection, Listener};
pub use metrics::{DirectionTraffic, Metrics, MetricsSnapshot, RefusalReason};
pub use server::{BindError, Relay};
pub use tls::{Tls, TlsError};
