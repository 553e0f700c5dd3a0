//! What a relay is told at its start.

use crate::{AllowedServers, Limits, Tls};

/// Configuration of a relay; the default serves loopback and a single address well.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The names this relay answers to, as exec-servers dial them: `host` (on the listening port) or `host:port`. Empty: the
    /// local address of each connection, and `localhost` on loopback. A registration under any other name is refused,
    /// so that no relay can forward another's challenge.
    pub authorities: Vec<String>,
    /// Certificate and key; every connection then speaks TLS 1.3. `None`: clear text, for loopback, a private network, or behind
    /// something that ends TLS.
    pub tls: Option<Tls>,
    /// Exec-servers that may register, followed while the relay runs. `None`: anyone, for loopback and private networks.
    pub allow_servers: Option<AllowedServers>,
    /// Bounds on everything a peer can make the relay hold.
    pub limits: Limits,
}
