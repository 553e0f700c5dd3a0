//! An exec-server inside another program: it connects to the relay at the first argument and runs commands for the
//! client whose public key is the second, until its standard input ends.
//!
//! `cargo run -p baton-exec-server --example embed -- http://127.0.0.1:7700 "$(baton keygen --public KEY)"`

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Server, key::Seed};
use baton_exec_server::{ExecServer, WarmService};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [relay, key] = [1, 2].map(|n| std::env::args().nth(n).expect("two arguments: RELAY KEY"));
    let allow = AllowList::only(key.parse()?, "example", Trust::Clamp);
    let server = Server::new(&relay, &Seed::generate()?, allow)?;
    println!("ticket: {}", server.ticket());
    let builder = ExecServer::builder(server).service(tonic_health::server::health_reporter().1);
    // The board of `baton warm`. Its calls stay open, so it is closed before the shutdown.
    let warm = WarmService::default();
    let builder = builder.service(warm.clone().into_server());
    let builder = builder.on_shutdown("report", Duration::from_secs(1), async || println!("stopped"));
    let stop = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
        warm.close();
    };
    println!("{:?}", builder.build()?.serve(stop).await?);
    Ok(())
}
