//! The configuration of a relay.

use crate::{AddressRange, AllowedServers, Limits, Tls};

/// Configuration of a relay. The default suits loopback and a relay with a single address.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The authorities by which exec-servers dial this relay: `host` (on the listening port) or `host:port`. If empty:
    /// the local address of each connection, and `localhost` on loopback. The relay refuses a registration under any
    /// other authority, so that no relay can forward another relay's challenge.
    pub authorities: Vec<String>,
    /// Certificate and key; every connection then uses TLS 1.3. `None`: clear text, for loopback, a private network, or
    /// behind a proxy that terminates TLS.
    pub tls: Option<Tls>,
    /// Exec-servers that may register; the list is read again while the relay runs. `None`: any exec-server may
    /// register, for loopback and private networks.
    pub allow_servers: Option<AllowedServers>,
    /// The balancers in front of this relay. If there are any, every connection must come from one of them and begin
    /// with a PROXY header of version 2, before TLS, and counts to the address that the header names. A balancer can
    /// name any address. Such a relay also needs its `authorities`: exec-servers dial the balancer, and a header's
    /// destination is not believed.
    pub balancers: Vec<AddressRange>,
    /// Bounds on everything that a peer can make the relay hold.
    pub limits: Limits,
}
