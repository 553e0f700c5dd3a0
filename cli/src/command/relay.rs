//! `baton relay`.

use baton_relay::{AllowedServers, Config, Limits, Relay, Tls};

use crate::args::RelayArgs;
use crate::error::CliError;
use crate::limits::RELAY_FILES;
use crate::runtime::runtime;
use crate::{descriptor_limit, logging, signals};

pub(crate) fn main(args: RelayArgs) -> Result<i32, CliError> {
    logging::start("info");
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => Some(Tls::from_pem_files(&cert, &key)?),
        _ => None,
    };
    let allow_servers = args
        .allow_servers
        .as_deref()
        .map(AllowedServers::from_file)
        .transpose()?;
    let is_loopback = args.listen.ip().to_canonical().is_loopback();
    if allow_servers.is_none() && !is_loopback {
        log_line!(
            "any host that reaches this relay may register an exec-server and use up its slots; pass --allow-servers \
             with the ids of your exec-servers"
        );
    }
    if tls.is_none() && !is_loopback {
        log_line!(
            "connections to this relay are in clear text: the network can see ids, sizes, times and dial tokens; pass \
             --tls-cert and --tls-key, or terminate TLS in front of the relay"
        );
    }
    runtime()?.block_on(async {
        let config = Config {
            authorities: args.authority,
            allow_servers,
            limits: Limits {
                memory: args.memory,
                ..Limits::default()
            },
            tls,
        };
        descriptor_limit::raise(config.limits.connections as u64 + RELAY_FILES);
        let relay = Relay::bind(args.listen, config).await?;
        stdout_line!("listening on {}", relay.local_addr());
        relay
            .serve(async {
                signals::stop().await;
            })
            .await;
        Ok(0)
    })
}
