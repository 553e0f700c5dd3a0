//! Mounts a third-party tonic service on the channel: gRPC's health service. A client calls it through a relay that
//! cannot decrypt the call, and prints the call's waterfall. The service adds its own stage, `health.lookup`. Client,
//! relay and server run in this process, over real sockets on loopback.
//!
//! `cargo run -p baton-channel --example health`

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::{Seed, StaticKey};
use baton_channel::{Channel, Notice, RecordTo, Server};
use baton_relay::{Config, Relay};
use baton_trace::call::ServerCall;
use baton_trace::report::{WaterfallStyle, waterfall};
use baton_trace::stage::{self, Component, StageDef, StageId, StageKind, transport::RPC};
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

const LOOKUP: StageId = StageId(192);

/// The service's stages. Both ends register this table. The ids 192 to 254 are free for users.
static STAGES: [StageDef; 1] = [StageDef {
    id: LOOKUP,
    name: "health.lookup",
    parent: Some(RPC),
    kind: StageKind::Internal,
    from: "handler starts",
    to: "status found",
    exporter: Component::Server,
    covers: true,
}];

/// The health service with its stage.
struct Traced(HealthService);

#[tonic::async_trait]
impl Health for Traced {
    type WatchStream = <HealthService as Health>::WatchStream;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let call = request.extensions().get::<Arc<ServerCall>>().cloned();
        let start = Instant::now();
        let answer = self.0.check(request).await;
        if let Some(call) = call {
            call.record(LOOKUP, start, Instant::now());
        }
        answer
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.0.watch(request).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Each end registers the stages before its first call. Here both ends are one process.
    stage::register(&STAGES)?;

    // The relay pairs the two ends and forwards ciphertext.
    let relay = Relay::bind("127.0.0.1:0".parse()?, Config::default()).await?;
    let relay_url = format!("http://{}", relay.local_addr());
    tokio::spawn(relay.serve(pending()));

    // The server serves any tonic service. It dials out to the relay, and serves clients on its allow-list.
    let reporter = HealthReporter::new();
    reporter
        .set_service_status("baton", tonic_health::ServingStatus::Serving)
        .await;
    let health = HealthServer::new(Traced(HealthService::from_health_reporter(reporter)));
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

    // The client is tonic's generated client over a channel to the ticket's server.
    let mut client = HealthClient::new(Channel::new(ticket, client_key));
    let (record_to, record) = RecordTo::channel();
    let mut request = Request::new(HealthCheckRequest {
        service: "baton".into(),
    });
    request.extensions_mut().insert(record_to);
    let answer = client.check(request).await?.into_inner();
    println!("baton is {}", answer.status().as_str_name());
    print!("{}", waterfall(&record.await?, &WaterfallStyle::default()));
    Ok(())
}
