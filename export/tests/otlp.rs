//! The exporter against a real OTLP receiver over loopback, and against collectors that are dead.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use baton_export::clock;
use baton_export::limits::EXIT_WAIT;
use baton_export::{
    ExitOptions, ExitReport, Exporter, ExporterOptions, ExporterSettings, ShutdownReport, Spool,
};
use baton_trace::record::{CallRecord, Side, StageRecord};
use baton_trace::recorder::RecordSink;
use baton_trace::stage::{self, StageId};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::{TraceContext, random_span_id};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use rustix::net::{AddressFamily, SocketType};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Keeps all that it receives, and can be unwell.
#[derive(Clone, Default)]
struct Receiver {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    tokens: Arc<Mutex<Vec<String>>>,
    user_agents: Arc<Mutex<Vec<String>>>,
    /// Answers so many requests with a status first.
    failing: Arc<Mutex<Vec<Status>>>,
    /// Takes a request for each of its permits, and answers no other.
    gate: Option<Arc<Semaphore>>,
    /// Rejects so many spans of each request.
    rejecting: i64,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let header = |name: &'static str| {
            request
                .metadata()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        self.tokens.lock().unwrap().extend(header("x-token"));
        self.user_agents.lock().unwrap().extend(header("user-agent"));
        if let Some(status) = self.failing.lock().unwrap().pop() {
            return Err(status);
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.requests.lock().unwrap().push(request.into_inner());
        let partial_success = (self.rejecting > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: self.rejecting,
            error_message: "too many".to_owned(),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

impl Receiver {
    fn start() -> (Self, SocketAddr) {
        let receiver = Self::default();
        let address = receiver.serve();
        (receiver, address)
    }

    /// Serves on a thread of its own until the test ends.
    fn serve(&self) -> SocketAddr {
        self.serve_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same, at an address.
    fn serve_at(&self, address: SocketAddr) -> SocketAddr {
        self.serve_on(TcpListener::bind(address).unwrap())
    }

    /// The same, on a socket that is bound, and whose connections nobody has taken so far.
    fn serve_on(&self, listener: TcpListener) -> SocketAddr {
        let service = TraceServiceServer::new(self.clone());
        let (ready, address) = std::sync::mpsc::channel();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
                ready.send(incoming.local_addr().unwrap()).unwrap();
                let server = tonic::transport::Server::builder().add_service(service);
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        address.recv().unwrap()
    }

    /// Every span with its service's name.
    fn spans(&self) -> Vec<(String, Span)> {
        let requests = self.requests.lock().unwrap();
        let groups = requests.iter().flat_map(|request| &request.resource_spans);
        let spans = groups.flat_map(|group| {
            let service = text(&group.resource.as_ref().unwrap().attributes, "service.name");
            let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| (service.clone(), span.clone()))
        });
        spans.collect()
    }

    /// The resource of a service.
    fn resource(&self, service: &str) -> Vec<KeyValue> {
        let requests = self.requests.lock().unwrap();
        let mut resources = requests
            .iter()
            .flat_map(|request| &request.resource_spans)
            .map(|group| group.resource.clone().unwrap().attributes);
        resources
            .find(|attributes| text(attributes, "service.name") == service)
            .unwrap()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|kv| kv.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

fn settings(to: SocketAddr, more: &[(&str, &str)]) -> ExporterSettings {
    let endpoint = format!("http://{to}");
    let settings = ExporterSettings::from_lookup(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        name => more
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned()),
    });
    settings.unwrap().unwrap()
}

fn exporter(side: Side, to: SocketAddr, more: &[(&str, &str)]) -> Exporter {
    Exporter::new(side, settings(to, more)).unwrap()
}

/// A call in which every stage of the tables took 20 µs, one after the other.
fn record(side: Side, context: &TraceContext) -> CallRecord {
    let stage = |(nth, def): (usize, &stage::StageDef)| {
        let start_ns = nth as i64 * 20_000;
        StageRecord {
            stage: def.id,
            attempt: 0,
            start_ns,
            end_ns: start_ns + 20_000,
            estimated: false,
        }
    };
    let mut stages: Vec<_> = stage::all().enumerate().map(stage).collect();
    stages[0].end_ns = 1_000_000;
    CallRecord {
        side,
        context: context.clone(),
        parent: (side == Side::Server).then_some(context.span_id),
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

const AT_ONCE: Duration = Duration::from_secs(10);

#[test]
fn client_and_server_together_export_every_stage_exactly_once() {
    let (receiver, address) = Receiver::start();
    let context = TraceContext::new_root(true);
    let client = exporter(Side::Client, address, &[]);
    let server = exporter(Side::Server, address, &[]);
    client.record(record(Side::Client, &context));
    server.record(record(Side::Server, &context));
    let (by_client, by_server) = (client.shutdown(AT_ONCE), server.shutdown(AT_ONCE));

    let spans = receiver.spans();
    assert_eq!(
        by_client.exported + by_server.exported,
        stage::all().count() as u64
    );
    assert_eq!(by_client.dropped + by_server.dropped, 0);
    let mut by_stage = BTreeMap::new();
    for (service, span) in &spans {
        assert_eq!(span.trace_id, context.trace_id.to_bytes());
        let name = text(&span.attributes, "baton.stage");
        assert!(by_stage.insert(name, (service.clone(), span.clone())).is_none());
    }
    let ids: HashSet<_> = spans.iter().map(|(_, span)| span.span_id.clone()).collect();
    assert_eq!(ids.len(), spans.len());
    for def in stage::all() {
        let (service, span) = &by_stage[def.name];
        let expected = match def.exporter {
            stage::Component::Client => "baton-client",
            stage::Component::Relay => "baton-relay",
            stage::Component::Server => "baton-exec-server",
        };
        assert_eq!(service, expected, "{}", def.name);
        let id = |stage: StageId| stage::span_id(context.trace_id, context.span_id, stage, 0).to_bytes();
        assert_eq!(span.span_id, id(def.id), "{}", def.name);
        assert_eq!(
            span.parent_span_id,
            def.parent.map_or(vec![], |p| id(p).to_vec()),
            "{}",
            def.name
        );
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        assert_eq!(
            (span.start_time_unix_nano % 1_000, span.end_time_unix_nano % 1_000),
            (0, 0)
        );
    }
}

#[test]
fn every_resource_names_its_host_and_instance_and_the_relays_its_reporter() {
    let (receiver, address) = Receiver::start();
    let client = exporter(Side::Client, address, &[]);
    client.record(record(Side::Client, &TraceContext::new_root(true)));
    client.shutdown(AT_ONCE);
    let (client, relay) = (
        receiver.resource("baton-client"),
        receiver.resource("baton-relay"),
    );
    for resource in [&client, &relay] {
        assert!(!text(resource, "host.id").is_empty());
        assert!(!text(resource, "service.instance.id").is_empty());
    }
    assert_eq!(
        text(&relay, "baton.reported_by"),
        text(&client, "service.instance.id")
    );
    assert!(!text(&client, "service.version").is_empty());
}

#[test]
fn only_sampled_records_are_exported() {
    let (receiver, address) = Receiver::start();
    let client = exporter(Side::Client, address, &[]);
    client.record(record(Side::Client, &TraceContext::new_root(false)));
    assert_eq!(
        client.shutdown(AT_ONCE),
        ShutdownReport {
            exported: 0,
            dropped: 0
        }
    );
    assert!(receiver.spans().is_empty());
}

#[test]
fn a_full_batch_is_sent_without_waiting_for_the_delay() {
    let (receiver, address) = Receiver::start();
    let batch = [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    let client = exporter(Side::Client, address, &batch);
    for _ in 0..10 {
        client.record(record(Side::Client, &TraceContext::new_root(true)));
    }
    let started = Instant::now();
    while receiver.spans().is_empty() {
        assert!(started.elapsed() < AT_ONCE, "nothing was sent");
        thread::yield_now();
    }
    client.shutdown(AT_ONCE);
}

#[test]
fn shutdown_is_quick_inside_a_current_thread_runtime() {
    let (receiver, address) = Receiver::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = exporter(Side::Client, address, &[]);
        client.record(record(Side::Client, &TraceContext::new_root(true)));
        let started = Instant::now();
        assert!(client.shutdown(AT_ONCE).exported > 0);
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
    });
    assert!(!receiver.spans().is_empty());
}

#[test]
fn a_collector_that_is_briefly_unavailable_gets_the_spans_and_one_that_refuses_does_not() {
    let receiver = Receiver::default();
    receiver
        .failing
        .lock()
        .unwrap()
        .push(Status::unavailable("starting"));
    let client = exporter(Side::Client, receiver.serve(), &[]);
    client.record(record(Side::Client, &TraceContext::new_root(true)));
    let report = client.shutdown(AT_ONCE);
    assert!(report.exported > 0 && report.dropped == 0, "{report}");

    let receiver = Receiver::default();
    receiver
        .failing
        .lock()
        .unwrap()
        .push(Status::unauthenticated("who are you"));
    let client = exporter(
        Side::Client,
        receiver.serve(),
        &[("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b")],
    );
    client.record(record(Side::Client, &TraceContext::new_root(true)));
    let report = client.shutdown(AT_ONCE);
    assert!(report.exported == 0 && report.dropped > 0, "{report}");
    assert_eq!(*receiver.tokens.lock().unwrap(), ["a b"]);
}

#[test]
fn the_user_agent_names_exporter_language_and_version() {
    let receiver = Receiver::default();
    let client = exporter(Side::Client, receiver.serve(), &[]);
    client.record(record(Side::Client, &TraceContext::new_root(true)));
    client.shutdown(AT_ONCE);
    let user_agents = receiver.user_agents.lock().unwrap();
    let expected = concat!("Baton-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"), " ");
    assert!(user_agents[0].starts_with(expected), "{user_agents:?}");
}

#[test]
fn spans_that_the_collector_rejects_are_not_called_exported() {
    let receiver = Receiver {
        rejecting: 3,
        ..Receiver::default()
    };
    let client = exporter(Side::Client, receiver.serve(), &[]);
    client.record(record(Side::Client, &TraceContext::new_root(true)));
    let report = client.shutdown(AT_ONCE);
    assert_eq!(
        (report.exported + 3, report.dropped),
        (receiver.spans().len() as u64, 3)
    );
}

/// A run that records one call, exports it to `address` and leaves as a command does, with a spool in `dir`.
fn leave(address: SocketAddr, dir: &TempDir) -> (ExitReport, Duration) {
    leave_within(EXIT_WAIT, address, dir)
}

/// The same with another wait.
fn leave_within(wait: Duration, address: SocketAddr, dir: &TempDir) -> (ExitReport, Duration) {
    let settings = settings(address, &[]);
    let spool = Spool::new(dir.path().join("spool"), &settings);
    let options = ExporterOptions {
        spool: Some(spool.clone()),
        ..ExporterOptions::default()
    };
    let exporter = Arc::new(Exporter::with_options(Side::Client, settings, options).unwrap());
    exporter.record(record(Side::Client, &TraceContext::new_root(true)));
    let exit = ExitOptions {
        wait,
        is_patient: false,
        spool: Some(spool),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let report = runtime.block_on(baton_export::exit(&[exporter], exit, std::future::pending()));
    (report, began.elapsed())
}

fn spooled(dir: &TempDir) -> usize {
    names(dir).len()
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path().join("spool")).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".otlp")).collect()
}

/// A collector that takes no connection: its queue of them is full. It stays so for as long as what is returned lives.
fn black_hole() -> (SocketAddr, Vec<TcpStream>, OwnedFd) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address: SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 16, "the queue is never full");
    }
    (address, waiting, socket)
}

fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_dead_collector_delays_no_exit_and_a_later_run_delivers_everything() {
    let (hole, _waiting, _hole) = black_hole();
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = closed_port();
    for (address, hint) in [
        (closed, "cannot connect"),
        (hole, "does not answer"),
        (mute.local_addr().unwrap(), "did not answer in time"),
    ] {
        let dir = TempDir::new().unwrap();
        let bound = if address == closed {
            // Nobody listens, so nobody waits.
            EXIT_WAIT / 2
        } else {
            EXIT_WAIT + Duration::from_millis(10)
        };
        const RUNS: usize = 15;
        let (mut kept, mut prompt, mut hinted) = (0, 0, 0);
        for runs in 1..=RUNS {
            let (report, took) = leave(address, &dir);
            assert_eq!((report.exported, report.dropped), (0, 0), "{report:?}");
            hinted += usize::from(report.failure.unwrap().to_string().contains(hint));
            prompt += usize::from(took <= bound);
            kept += report.spooled;
            assert_eq!(spooled(&dir), runs);
        }
        // A busy machine may delay a few.
        assert!(
            prompt * 3 >= RUNS * 2 && hinted * 3 >= RUNS * 2,
            "{hint}: {prompt} exited within {bound:?} and {hinted} had the hint, of {RUNS}"
        );
        if address == hole {
            continue;
        }
        // Somebody serves there now.
        let receiver = Receiver::default();
        if address == closed {
            receiver.serve_at(address);
        } else {
            let mute = mute.try_clone().unwrap();
            receiver.serve_on(mute);
        }
        let began = Instant::now();
        while spooled(&dir) > 0 {
            // Longer than a command waits: this machine may be busy.
            let (report, _) = leave_within(AT_ONCE, address, &dir);
            kept += report.exported + report.spooled;
            assert_eq!((report.dropped, report.earlier.dropped), (0, 0), "{report:?}");
            assert!(began.elapsed() < AT_ONCE, "{} left", spooled(&dir));
        }
        let spans = receiver.spans();
        let ids: HashSet<_> = spans.iter().map(|(_, span)| span.span_id.clone()).collect();
        assert_eq!(ids.len() as u64, kept, "{hint}");
    }
}

#[test]
fn only_what_was_not_delivered_is_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let receiver = Receiver {
        gate: Some(Arc::clone(&gate)),
        ..Receiver::default()
    };
    let address = receiver.serve();
    let dir = TempDir::new().unwrap();
    // A record a request.
    let settings = settings(address, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")]);
    let spool = Spool::new(dir.path().join("spool"), &settings);
    let exporter = Arc::new(Exporter::new(Side::Client, settings).unwrap());
    for _ in 0..3 {
        exporter.record(record(Side::Client, &TraceContext::new_root(true)));
    }
    let exit = ExitOptions {
        wait: AT_ONCE,
        is_patient: true,
        spool: Some(spool),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // All of it is written down first; then the first of three is delivered, and the wait is over.
    let delivered = async {
        while spooled(&dir) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        gate.add_permits(1);
        while exporter.shutdown(Duration::ZERO).exported == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let report = runtime.block_on(baton_export::exit(&[Arc::clone(&exporter)], exit, delivered));
    let delivered = receiver.spans().len() as u64;
    assert_eq!((report.exported, report.dropped), (delivered, 0), "{report:?}");
    assert_eq!((report.spooled, spooled(&dir)), (2 * delivered, 1), "{report:?}");
    let [name] = &names(&dir)[..] else { panic!() };
    assert_eq!(
        name.split('-').nth(2),
        Some(&*report.spooled.to_string()),
        "{name}"
    );
}

#[test]
fn a_healthy_collector_gets_all_and_the_disk_nothing() {
    let (receiver, address) = Receiver::start();
    let dir = TempDir::new().unwrap();
    let mut runs = 0;
    // A machine that does other things too may need longer than the spool is waited with.
    loop {
        let (report, _) = leave(address, &dir);
        runs += 1;
        if report.exported > 0 && !dir.path().join("spool").exists() {
            assert!(report.is_quiet() && report.dropped == 0, "{report}");
            break;
        }
        assert!(runs < 50, "{report}");
        let _ = std::fs::remove_dir_all(dir.path().join("spool"));
    }
    assert!(!receiver.spans().is_empty());
}

#[test]
fn a_collector_that_refuses_is_told_by_what_to_correct_and_keeps_nothing_waiting() {
    let dir = TempDir::new().unwrap();
    let refused = |status: Status| {
        let receiver = Receiver::default();
        receiver.failing.lock().unwrap().push(status);
        let address = receiver.serve();
        let (report, _) = leave(address, &dir);
        (
            report.dropped,
            report.spooled,
            report.failure.unwrap().to_string(),
        )
    };
    let mut runs = 0;
    for (status, hint) in [
        (
            Status::unauthenticated("who are you"),
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (Status::permission_denied("no"), "OTEL_EXPORTER_OTLP_HEADERS"),
        (Status::unimplemented(""), "gRPC port, usually 4317"),
    ] {
        // It may be too busy to answer in time.
        let told = loop {
            let (dropped, spooled, told) = refused(status.clone());
            if dropped > 0 && spooled == 0 {
                break told;
            }
            runs += 1;
            assert!(runs < 50, "{told}");
        };
        assert!(told.contains(hint), "{told}");
    }
}

#[test]
fn a_port_that_speaks_http_1_is_told_as_that() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut read = [0; 24];
            // The other end may have gone.
            let _ = stream.read_exact(&mut read);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let dir = TempDir::new().unwrap();
    let mut runs = 0;
    loop {
        let (report, _) = leave(address, &dir);
        assert!(report.spooled > 0, "{report}");
        let told = report.failure.unwrap().to_string();
        if told.contains("speaks HTTP/1, not gRPC: use the gRPC port, usually 4317") {
            break;
        }
        runs += 1;
        assert!(runs < 50, "{told}");
    }
}

/// Asserts that a collector at `address` costs the exit its bound at most, and that the loss is told.
fn check_dead(address: SocketAddr) {
    const BOUND: Duration = Duration::from_millis(300);
    let client = exporter(Side::Client, address, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")]);
    let one = record(Side::Client, &TraceContext::new_root(true));
    for _ in 0..20 {
        client.record(one.clone());
    }
    let started = Instant::now();
    let report = client.shutdown(BOUND);
    // The margin is for a busy machine; the bound itself is a timed wait.
    assert!(
        started.elapsed() < BOUND + Duration::from_millis(700),
        "{:?}",
        started.elapsed()
    );
    let server_stages = stage::all()
        .filter(|def| def.exporter == stage::Component::Server)
        .count();
    let owed = 20 * (stage::all().count() - server_stages) as u64;
    assert_eq!(
        report,
        ShutdownReport {
            exported: 0,
            dropped: owed
        }
    );
    client.record(one.clone());
    let later = client.shutdown(Duration::ZERO);
    assert_eq!(
        later.dropped,
        owed + owed / 20,
        "a record after the shutdown is counted as well"
    );
}

#[test]
fn a_collector_that_refuses_connections_never_delays_an_exit() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    check_dead(address);
}

#[test]
fn a_collector_that_never_answers_never_delays_an_exit() {
    // The kernel accepts; nobody reads.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    check_dead(listener.local_addr().unwrap());
}

#[test]
fn beyond_the_queue_spans_are_dropped_and_counted() {
    let (receiver, address) = Receiver::start();
    // A batch as large as the queue, and no timer: nothing leaves before the shutdown.
    let queue = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    let client = exporter(Side::Client, address, &queue);
    let one = record(
        Side::Client,
        &TraceContext::new_root(true).with_span(random_span_id()),
    );
    for _ in 0..10 {
        client.record(one.clone());
    }
    let report = client.shutdown(AT_ONCE);
    assert!(report.dropped > 0 && report.exported > 0, "{report}");
    assert_eq!(report.exported, receiver.spans().len() as u64);
    let server_stages = stage::all()
        .filter(|def| def.exporter == stage::Component::Server)
        .count();
    assert_eq!(
        report.exported + report.dropped,
        10 * (stage::all().count() - server_stages) as u64
    );
}
