//! The relay: pairs a client that dials with an exec-server that registered, and splices their two gRPC streams.
//!
//! It sees ids, sizes and timing. It never holds a Noise key, and cannot distinguish the calls of a session.
//!
//! The modules, from the bottom up; a module uses only those before it:
//!
//! - [`limits`] states what each bound protects and what it can cost. `memory_budget` is the memory of the relay,
//!   `session_memory` that of one session; `slots` and `network` count slots.
//! - `headers` reads a request's headers, `request_body` its body.
//! - `frames` splits a body into frames, stamps each, and bounds the queue in which they wait; it copies no large
//!   payload.
//! - `registry` holds the registered exec-servers.
//! - `dial_queue` holds the dials that wait for a session slot; `sessions` holds the dials that wait for their
//!   `Accept`, and the sessions.
//! - `splice` moves the frames of a session from body to body, and reports every end to the other side.
//! - `state` combines these for one relay.
//! - `register` verifies an exec-server's key and serves its stream; `here` tells it whether it is registered; `dial`
//!   and `accept` are the two halves of a pairing; `health` answers health checks; `drain` takes the relay out of
//!   service.
//! - `service` routes the four methods of `baton.relay.v1.Relay`, `http2` serves one connection, `listener` accepts
//!   connections, `admission` counts each of them, to the address that a balancer's `proxy_header` names if there is a
//!   balancer, `tls` wraps them if configured, `server` runs the relay.
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
mod address_range;
mod admission;
mod allowed_servers;
mod config;
mod connection;
mod dial;
mod dial_queue;
mod direction;
mod drain;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod health;
mod here;
mod http2;
pub mod limits;
mod listener;
mod memory_budget;
mod metrics;
mod network;
mod origin;
mod proxy_header;
mod refusal;
mod register;
mod registry;
mod rejected_connections;
mod rejection;
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

pub use address_range::{AddressRange, AddressRangeError};
pub use allowed_servers::{AllowedServers, AllowedServersError};
pub use config::Config;
pub use drain::{Drain, DrainEnd};
pub use limits::Limits;
pub use listener::{AcceptedConnection, Listener};
pub use metrics::{DirectionTraffic, Metrics, MetricsSnapshot, RefusalReason};
pub use server::{BindError, Relay};
pub use tls::{Tls, TlsError};
