//! What exporting costs: `cargo run --release -p baton-export --example export_cost`.
//!
//! Prints, for a client's record of 24 stages (12 spans of its own and the relay's) and a server's (12): nanoseconds on
//! the data path's thread, and CPU time of the exporter's own thread for layout, encoding and sending to a local
//! receiver that drops everything. Linux only: the thread's CPU time comes from /proc.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use baton_export::clock;
use baton_export::{Exporter, ExporterSettings, spans};
use baton_trace::record::{CallRecord, Side, StageRecord};
use baton_trace::recorder::RecordSink;
use baton_trace::stage;
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const RECORDS: u32 = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for side in [Side::Client, Side::Server] {
        measure(side)?;
    }
    Ok(())
}

fn measure(side: Side) -> Result<(), Box<dyn std::error::Error>> {
    let received = Counter::default();
    let endpoint = receiver(received.clone())?;
    let settings = ExporterSettings::from_lookup(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        _ => None,
    })?;
    let exporter = Exporter::new(side, settings.ok_or("no endpoint")?)?;
    let record = record(side);
    let owed = spans::owed(&record).len() as u64;

    let mut pushing = Duration::ZERO;
    for nth in 1..=RECORDS {
        let started = Instant::now();
        exporter.record(record.clone());
        pushing += started.elapsed();
        if nth % 500 == 0 {
            // Slower than the exporter, as real calls are: nothing is to be dropped here.
            thread::sleep(Duration::from_millis(30));
        }
    }
    thread::sleep(Duration::from_secs(6));
    let cpu = exporter_cpu()?;
    let report = exporter.shutdown(Duration::from_secs(5));
    let exported = received.0.load(Ordering::Relaxed);
    println!(
        "{side:?}: {owed} spans a record; data path {} ns a record; exporter's thread {:.1} µs a record, {:.0} ns a span; {report}",
        (pushing / RECORDS).as_nanos(),
        cpu.as_nanos() as f64 / 1e3 / f64::from(RECORDS),
        cpu.as_nanos() as f64 / exported.max(1) as f64,
    );
    Ok(())
}

fn record(side: Side) -> CallRecord {
    let skipped = ["connect.dial", "connect.pair", "connect.handshake"];
    let defs = stage::all().filter(|def| !skipped.contains(&def.name));
    let mut stages: Vec<_> = defs
        .enumerate()
        .map(|(nth, def)| StageRecord {
            stage: def.id,
            attempt: 0,
            start_ns: nth as i64 * 20_100,
            end_ns: (nth as i64 + 1) * 20_100,
            estimated: false,
        })
        .collect();
    stages[0].end_ns = 1_000_000;
    CallRecord {
        side,
        context: TraceContext::new_root(true),
        parent: None,
        links: Vec::new(),
        method: "baton.exec.v1.Exec/Run".into(),
        anchor: clock::anchor(),
        stages,
        status: RpcStatus(0),
        clock: None,
        server_unix_ns: None,
        server_calls: Vec::new(),
        attributes: Vec::new(),
        command: None,
    }
}

fn exporter_cpu() -> std::io::Result<Duration> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "baton-otlp" {
            let stat = fs::read_to_string(task.join("schedstat"))?;
            let nanos = stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            return Ok(Duration::from_nanos(nanos));
        }
    }
    Ok(Duration::ZERO)
}

#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for Counter {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let groups = request.into_inner().resource_spans;
        let scopes = groups.iter().flat_map(|group| &group.scope_spans);
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn receiver(counter: Counter) -> Result<String, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let incoming = {
        let _inside = runtime.enter();
        TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into())?
    };
    let address = incoming.local_addr()?;
    thread::spawn(move || {
        let service = TraceServiceServer::new(counter);
        let server = tonic::transport::Server::builder().add_service(service);
        let _ = runtime.block_on(server.serve_with_incoming(incoming));
    });
    Ok(format!("http://{address}"))
}
