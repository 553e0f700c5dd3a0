//! `baton relay`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use baton_relay::AddressRange;

use super::values::{address_range, memory, stop_timeout, up_to, utf8};
use crate::limits::RELAY_THREADS_MAX;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  baton relay --listen 0.0.0.0:7700 --authority relay.example:7700
  baton relay --listen 10.0.0.7:7700 --authority relay.example:443 --proxy-protocol 10.0.0.2,10.0.0.3")]
pub(crate) struct RelayArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub(crate) listen: SocketAddr,
    /// The host:port by which exec-servers dial this relay; required if they dial it by a host name; repeatable
    /// [default: the local address of each connection]
    #[arg(long, value_name = "NAME")]
    pub(crate) authority: Vec<String>,
    /// Let only these exec-servers register: a file with one id per line, # begins a comment; read again when it
    /// changes. An exec-server prints its id when it starts [default: any exec-server may register]
    #[arg(long, value_name = "FILE")]
    pub(crate) allow_servers: Option<PathBuf>,
    /// Memory that clients and exec-servers together can occupy in this relay; no address and no exec-server gets more
    /// than half. The process takes at most an eighth and 48 MiB more, and 8 MiB for each thread but the first
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = memory)]
    pub(crate) memory: usize,
    /// Time that open sessions have to end when this relay is stopped by SIGTERM or SIGINT, like 10m where commands run
    /// long; a service manager has to wait longer. Meanwhile the relay takes no new session and answers GET /health by
    /// 404, and exec-servers leave it. The same signal again, or 0s, ends sessions at once; their clients reconnect
    /// [default: 25s]
    #[arg(long, value_name = "TIME", value_parser = utf8(stop_timeout))]
    pub(crate) drain: Option<Duration>,
    /// Serve counters for Prometheus at http://ADDR/metrics, like 127.0.0.1:7703. Whoever can reach ADDR can read them;
    /// they name no address, key or exec-server [default: not served]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Use TLS with this certificate chain (PEM); peers then dial https:// URLs. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM); other users must not be able to read it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Threads that serve connections [default: the cores that this process may use]
    #[arg(long, value_name = "N", value_parser = up_to(RELAY_THREADS_MAX))]
    pub(crate) threads: Option<u32>,
    /// The balancers in front of this relay, as addresses or prefixes like 10.0.0.0/24, separated by commas;
    /// repeatable. Every connection must then come from one of them and begin with a PROXY header of version 2, before
    /// TLS, and the limits for addresses count the address in it. A balancer can name any address, so name only
    /// machines that you trust. Needs --authority, because exec-servers dial the balancer
    #[arg(long, value_name = "FROM", value_delimiter = ',', requires = "authority", value_parser = utf8(address_range))]
    pub(crate) proxy_protocol: Vec<AddressRange>,
}
