//! Stages that a program registers for its own service, over a real channel.
//!
//! This is a separate binary, because rows are registered per process. The client that registers no stage is another
//! process of this binary.

#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
#[path = "../channel/support/mod.rs"]
mod support;

use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Channel, RecordTo};
use baton_export::spans;
use baton_trace::call::{ClientStages, ServerCall};
use baton_trace::record::CallRecord;
use baton_trace::report::{Coverage, WaterfallStyle, tree, waterfall};
use baton_trace::stage::transport::{CALL, RPC};
use baton_trace::stage::{self, Component, RegisterError, StageDef, StageId, StageKind};
use bytes::Bytes;
use tonic::Request;

use support::service::{Caller, Mounted, collect, message};
use support::{RunningRelay, RunningServer, Stack, eventually, within};

const LOOKUP: StageId = StageId(200);
const AUDIT: StageId = StageId(201);
const RENDER: StageId = StageId(202);

static STAGES: [StageDef; 3] = [
    row(LOOKUP, "shop.lookup", RPC, Component::Server, true),
    row(AUDIT, "shop.audit", RPC, Component::Server, false),
    row(RENDER, "shop.render", CALL, Component::Client, true),
];

static LATE: [StageDef; 1] = [row(StageId(203), "shop.late", RPC, Component::Server, true)];

const fn row(
    id: StageId,
    name: &'static str,
    parent: StageId,
    exporter: Component,
    covers: bool,
) -> StageDef {
    StageDef {
        id,
        name,
        parent: Some(parent),
        kind: StageKind::Internal,
        from: "asked",
        to: "done",
        exporter,
        covers,
    }
}

/// An interval that takes a while.
async fn interval() -> (Instant, Instant) {
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(1)).await;
    (start, Instant::now())
}

/// A service that records two registered stages.
fn shop() -> Mounted {
    Mounted::default().on("/test/Shop", |request| {
        let call = Arc::clone(request.extensions().get::<Arc<ServerCall>>().unwrap());
        async move {
            let (start, end) = interval().await;
            call.record(LOOKUP, start, end);
            call.record(AUDIT, start, end);
            Ok(message("found"))
        }
    })
}

/// Calls the shop and renders its answer, which is a stage of the caller.
async fn call(caller: &Caller) -> CallRecord {
    let mut request = Request::new(Bytes::new());
    let (record_to, record) = RecordTo::channel();
    let stages = ClientStages::default();
    request.extensions_mut().insert(record_to);
    request.extensions_mut().insert(stages.clone());
    let response = within(caller.server_streaming("/test/Shop", request)).await;
    let (start, end) = interval().await;
    stages.record(RENDER, start, end);
    within(collect(response.unwrap().into_inner())).await.unwrap();
    within(record).await.unwrap()
}

/// The remainder, counted nanosecond by nanosecond.
fn counted_remainder(record: &CallRecord) -> u64 {
    let call = record.stage(CALL).unwrap();
    let at = |ns: i64| usize::try_from(ns.clamp(call.start_ns, call.end_ns) - call.start_ns).unwrap();
    let mut covered = vec![false; at(call.end_ns)];
    for stage in &record.stages {
        if stage.stage.def().is_some_and(|def| def.covers) {
            covered[at(stage.start_ns)..at(stage.end_ns)].fill(true);
        }
    }
    covered.iter().filter(|is_covered| !**is_covered).count() as u64
}

fn remainder(record: &CallRecord) -> u64 {
    Coverage::of(record).remainder_ns()
}

fn without(record: &CallRecord, stage: StageId) -> CallRecord {
    let mut record = record.clone();
    record.stages.retain(|kept| kept.stage != stage);
    record
}

#[tokio::test]
async fn stages_registered_at_both_ends_are_drawn_covered_and_exported() {
    stage::register(&STAGES).unwrap();
    let stack = Stack::start(shop()).await;
    let client = call(&stack.caller()).await;

    let drawn = waterfall(&client, &WaterfallStyle::default());
    let depths: Vec<_> = tree::rows(&client)
        .iter()
        .filter(|row| row.stage.stage.is_user_defined())
        .map(|row| (tree::label(row.stage.stage), row.depth))
        .collect();
    let wanted = [("shop.lookup", 1), ("shop.audit", 1), ("shop.render", 0)];
    assert_eq!(depths, wanted.map(|(name, depth)| (name.into(), depth)));
    for (name, _) in wanted {
        assert!(drawn.contains(name), "{name}: {drawn}");
    }

    // No other stage covers while the handler works, so the remainder grows by this stage's length without it.
    let lookup = client.stage(LOOKUP).unwrap().duration_ns();
    assert!(lookup >= 1_000_000, "{lookup}");
    assert_eq!(remainder(&client), counted_remainder(&client), "{drawn}");
    assert_eq!(remainder(&without(&client, LOOKUP)), remainder(&client) + lookup);
    assert_eq!(remainder(&without(&client, AUDIT)), remainder(&client));

    let mut server = Vec::new();
    eventually("the server's record arrives", || {
        server.extend(stack.server.records.take());
        !server.is_empty()
    })
    .await;
    let server = server.remove(0);
    let names = |spans: &[opentelemetry_sdk::trace::SpanData]| {
        let names = spans.iter().map(|span| span.name.to_string());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("shop.")).collect();
        names.sort();
        names
    };
    assert_eq!(names(&spans::owed(&server).server), ["shop.audit", "shop.lookup"]);
    assert_eq!(names(&spans::owed(&client).client), ["shop.render"]);
    assert_eq!(stage::register(&LATE), Err(RegisterError::TooLate));
    assert_eq!(stage::register(&STAGES), Ok(()));
}

const TICKET: &str = "BATON_TEST_TICKET";
const SEED: &str = "BATON_TEST_SEED";

/// Runs `the_client_that_registered_nothing` against a server whose process registered the rows.
#[tokio::test]
async fn a_stage_registered_at_the_server_alone_is_unknown_to_the_client() {
    stage::register(&STAGES).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed");
    let (seed, _) = Seed::read_or_create(&path).unwrap();
    let key = seed.client_key().unwrap();
    let relay = RunningRelay::start().await;
    let allow = AllowList::only(*key.public(), "test", Trust::Continue);
    let server = RunningServer::start(&relay.url(), allow, shop()).await;
    let mut client = Command::new(env::current_exe().unwrap());
    client
        .args(["--exact", "the_client_that_registered_nothing", "--nocapture"])
        .env(TICKET, server.ticket.to_string())
        .env(SEED, &path);
    let output = within(tokio::task::spawn_blocking(move || client.output())).await;
    let output = output.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("unknown(200)"), "{text}");
}

/// Runs only as the child process of `a_stage_registered_at_the_server_alone_is_unknown_to_the_client`.
#[tokio::test]
async fn the_client_that_registered_nothing() {
    let (Ok(ticket), Some(seed)) = (env::var(TICKET), env::var_os(SEED)) else {
        return;
    };
    let seed = Seed::read(Path::new(&seed)).unwrap();
    let channel = Channel::new(ticket.parse().unwrap(), seed.client_key().unwrap());
    let client = call(&Caller::new(channel)).await;
    let drawn = waterfall(&client, &WaterfallStyle::default());
    println!("{drawn}");
    for stage in [LOOKUP, AUDIT, RENDER] {
        assert!(client.stage(stage).unwrap().duration_ns() > 0);
        let label = format!("unknown({})", stage.0);
        assert!(drawn.contains(&label), "{label}: {drawn}");
        assert_eq!(remainder(&without(&client, stage)), remainder(&client));
    }
    assert_eq!(remainder(&client), counted_remainder(&client));
    let spans = spans::owed(&client).client;
    assert!(
        spans.iter().all(|span| !span.name.starts_with("unknown")),
        "{spans:?}"
    );
    assert_eq!(stage::register(&LATE), Err(RegisterError::TooLate));
}
