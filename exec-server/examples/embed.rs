//! An exec-server inside another program: it dials the relay at the first argument and runs commands for the client whose public key is
//! the second, until its standard input ends.
//!
//! `cargo run -p baton-exec-server --example embed -- http://127.0.0.1:7700 "$(baton keygen --public KEY)"`

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Server, key::Seed};
use baton_exec_server::ExecServer;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let relay = arguments.next().ok_or("no relay")?;
    let allow = AllowList::only(
        arguments.next().ok_or("no key")?.parse()?,
        "example",
        Trust::Clamp,
    );
    let server = Server::new(&relay, &Seed::generate()?, allow)?;
    println!("ticket: {}", server.ticket());
    let server = ExecServer::builder(server)
        .service(tonic_health::server::health_reporter().1)
        .on_shutdown("farewell", Duration::from_secs(1), || async { println!("ended") })
        .build()?;
    let stop = async { drop(tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await) };
    let shutdown = server.serve(stop).await?;
    println!("{} processes left", shutdown.processes_left);
    Ok(())
}
