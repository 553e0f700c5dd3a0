//! The relay: pairs a client that dials with an exec-server that registered, and splices their two gRPC streams.
//!
//! It is blind. It sees ids, sizes and timing; it never holds a Noise key and cannot tell the calls of a session apart.
//!
//! - `listener` takes connections, `server` serves them, `tls` may wrap them, `wire` is HTTP/2 on one, `service` routes the three methods of
//!   `baton.relay.v1.Relay`.
//! - `register` proves an exec-server's key and keeps its stream; `registry` is who is there.
//! - `dial` and `accept` are the two halves of a pairing; `places` is where dials wait; `session` is what they share afterwards.
//! - `frames` cuts a body into frames, stamps each, and bounds the queue in which they wait; payloads are not copied.
//! - `splice` moves the frames from body to body, and nothing is ever dropped in silence.
//! - `health` answers health checks.
//! - `budget` is the memory of all of it, `held` that of one session.
//! - [`limits`] says what each bound protects and what it can cost.
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
mod allowed;
mod body;
mod budget;
mod config;
mod connection;
mod dial;
mod direction;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod health;
mod held;
mod inbound;
pub mod limits;
mod listener;
mod metrics;
mod network;
mod origin;
mod places;
mod refusal;
mod register;
mod registry;
mod server;
mod service;
mod session;
mod slots;
mod splice;
mod surplus;
mod text;
mod tls;
mod wire;

pub use allowed::{AllowedServers, AllowedServersError};
pub use config::Config;
pub use limits::Limits;
pub use listener::{Accepted, Listener};
pub use metrics::{Metrics, Refused, Snapshot, Traffic};
pub use server::{BindError, Relay};
pub use tls::{Tls, TlsError};
