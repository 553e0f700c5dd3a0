//! `baton relay`.

use baton_relay::{Config, Relay};

use super::runtime;
use crate::args::RelayArgs;
use crate::error::CliError;
use crate::{logging, signals};

pub(crate) fn main(args: RelayArgs) -> Result<i32, CliError> {
    logging::start("info");
    runtime()?.block_on(async {
        let config = Config {
            authorities: args.authority,
            ..Config::default()
        };
        let relay = Relay::bind(args.listen, config).await?;
        println!("listening on {}", relay.local_addr());
        relay
            .serve(async {
                signals::stop().await;
            })
            .await;
        Ok(0)
    })
}
