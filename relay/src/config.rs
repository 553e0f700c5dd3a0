//! What a relay is told at its start.

use crate::Limits;

/// Configuration of a relay; the default serves loopback and a single address well.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The names this relay answers to, as exec-servers dial them: `host` (on the listening port) or `host:port`. Empty: the
    /// local address of each connection, and `localhost` on loopback. A registration under any other name is refused,
    /// so that no relay can forward another's challenge.
    pub authorities: Vec<String>,
    /// Bounds on everything a peer can make the relay hold.
    pub limits: Limits,
}
