//! A foreign tonic service, mounted on the channel: gRPC's own health service, called through a relay that cannot read
//! the call, and what the call cost. Everything runs in this process, over real sockets on loopback.
//!
//! `cargo run -p baton-channel --example health`

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::{Seed, StaticKey};
use baton_channel::{Channel, Notice, RecordTo, Server};
use baton_relay::{Config, Relay};
use baton_trace::report::{Style, waterfall};
use std::future::pending;
use std::sync::Arc;
use tokio::sync::Notify;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The relay: pairs the two ends and forwards what it cannot read.
    let relay = Relay::bind("127.0.0.1:0".parse()?, Config::default()).await?;
    let relay_url = format!("http://{}", relay.local_addr());
    tokio::spawn(relay.serve(pending()));

    // The server: any tonic service. It dials out to the relay and lets in the clients whose keys it knows.
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("baton", tonic_health::ServingStatus::Serving)
        .await;
    let client_key = StaticKey::generate()?;
    let allow = AllowList::only(*client_key.public(), "example", Trust::Continue);
    let registered = Arc::new(Notify::new());
    let notify = Arc::clone(&registered);
    let server = Server::new(&relay_url, &Seed::generate()?, allow)?.on_notice(move |notice| {
        if let Notice::Registered = notice {
            notify.notify_one();
        }
    });
    let ticket = server.ticket();
    tokio::spawn(server.serve(health, pending()));
    registered.notified().await;

    // The client: tonic's generated one, over a channel made from the server's ticket.
    let mut client = HealthClient::new(Channel::new(ticket, client_key));
    let (record_to, record) = RecordTo::channel();
    let mut request = tonic::Request::new(HealthCheckRequest {
        service: "baton".into(),
    });
    request.extensions_mut().insert(record_to);
    let answer = client.check(request).await?.into_inner();
    println!("baton is {}", answer.status().as_str_name());
    print!("{}", waterfall(&record.await?, &Style::default()));
    Ok(())
}
