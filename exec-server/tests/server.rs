//! The exec-server as a library: further services, and the order and limits of its shutdown. Through a real relay.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::limits::DRAIN_TIMEOUT;
use baton_channel::ticket::Ticket;
use baton_channel::{Channel, Notice, Server};
use baton_core_client::{Client, Command, RecordsError};
use baton_exec_server::limits::SHUTDOWN_TIMEOUT;
use baton_exec_server::server::Builder;
use baton_exec_server::{ExecServer, ExecService, Settings, Shutdown};
use baton_proto::Features;
use baton_relay::{Config, Relay};
use tokio::sync::{Notify, oneshot};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// The ticket and keys of a server that is about to be built.
struct Fixture {
    ticket: Ticket,
    seed: Seed,
    registered: Arc<Notify>,
}

async fn fixture() -> (Fixture, Builder) {
    let relay = Relay::bind("127.0.0.1:0".parse().unwrap(), Config::default()).await;
    let relay = relay.unwrap();
    let url = format!("http://{}", relay.local_addr());
    tokio::spawn(relay.serve(pending()));
    let seed = Seed::generate().unwrap();
    let allow = AllowList::only(*seed.client_key().unwrap().public(), "test", Trust::Continue);
    let registered = Arc::new(Notify::new());
    let notify = Arc::clone(&registered);
    let server = Server::new(&url, &Seed::generate().unwrap(), allow).unwrap();
    let server = server.on_notice(move |notice| {
        if let Notice::Registered = notice {
            notify.notify_one();
        }
    });
    let fixture = Fixture {
        ticket: server.ticket(),
        seed,
        registered,
    };
    (fixture, ExecServer::builder(server))
}

/// Starts a command that outlives the drain, and returns once it runs.
async fn start_sleep(fixture: &Fixture, service: &ExecService) -> impl Sized + use<> {
    fixture.registered.notified().await;
    let client = Client::new(fixture.ticket.clone(), fixture.seed.client_key().unwrap());
    let started = client.start(Command::new("sleep").arg("1000")).await.unwrap();
    while service.processes() == 0 {
        tokio::task::yield_now().await;
    }
    (client, started)
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, future).await.expect("it never ends")
}

#[tokio::test]
async fn a_further_service_answers_beside_exec_and_an_unknown_one_is_unimplemented() {
    let (fixture, builder) = fixture().await;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("mine", ServingStatus::Serving).await;
    let server = builder.service(health).build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    fixture.registered.notified().await;

    let channel = Channel::new(fixture.ticket.clone(), fixture.seed.client_key().unwrap());
    let request = HealthCheckRequest {
        service: "mine".into(),
    };
    let mut client = HealthClient::new(channel.clone());
    assert_eq!(client.check(request).await.unwrap().into_inner().status, 1);
    assert!(
        channel.features().has(Features::FIND_UP),
        "its service for files has FindUp"
    );
    assert!(channel.features().has(Features::OUTLIVES_SESSION));
    assert!(channel.features().has(Features::SEARCH_FILES));

    let exec = Client::new(fixture.ticket.clone(), fixture.seed.client_key().unwrap());
    let output = exec.run(Command::new("echo").arg("ok")).await.unwrap();
    assert_eq!(output.stdout, b"ok\n"[..]);
    // The service of records is not mounted.
    let error = exec.records().flush(0).await.unwrap_err();
    assert!(matches!(error, RecordsError::NotKept), "{error:?}");

    stop.send(()).unwrap();
    assert_eq!(bounded(serving).await.unwrap().unwrap(), Shutdown::default());
}

#[tokio::test]
async fn a_server_without_graces_announces_none() {
    let (fixture, builder) = fixture().await;
    let settings = Settings {
        max_grace: Duration::ZERO,
        ..Settings::default()
    };
    let server = builder.settings(settings).build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    fixture.registered.notified().await;

    let channel = Channel::new(fixture.ticket.clone(), fixture.seed.client_key().unwrap());
    channel.connect().await.unwrap();
    assert!(channel.features().has(Features::FIND_UP) && !channel.features().has(Features::OUTLIVES_SESSION));
    let client = Client::over(channel);
    let wanted = Command::new("true").grace(Duration::from_secs(60));
    let (mut run, _stdin) = client.start(wanted).await.unwrap();
    run.next().await.unwrap();
    assert_eq!(run.grace(), Duration::ZERO);

    stop.send(()).unwrap();
    bounded(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn hooks_run_in_their_order_after_the_last_process_is_gone_and_one_that_hangs_is_cut() {
    let (fixture, builder) = fixture().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let service = Arc::new(Mutex::new(None::<ExecService>));
    let note = |name: &'static str| {
        let (told, service) = (Arc::clone(&told), Arc::clone(&service));
        move || async move {
            let processes = service.lock().unwrap().as_ref().unwrap().processes();
            told.lock().unwrap().push((name, processes));
        }
    };
    let limit = Duration::from_millis(50);
    let server = builder
        .on_shutdown("first", Duration::from_secs(5), note("first"))
        .on_shutdown("hangs", limit, pending)
        .on_shutdown("last", Duration::from_secs(5), note("last"))
        .build()
        .unwrap();
    *service.lock().unwrap() = Some(server.service().clone());
    let exec = server.service().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let _running = start_sleep(&fixture, &exec).await;
    let begun = Instant::now();
    stop.send(()).unwrap();
    let shutdown = bounded(serving).await.unwrap().unwrap();
    assert_eq!((shutdown.processes_left, shutdown.hooks_cut), (0, vec!["hangs"]));
    assert_eq!(*told.lock().unwrap(), [("first", 0), ("last", 0)]);
    let most = DRAIN_TIMEOUT + SHUTDOWN_TIMEOUT + limit + Duration::from_secs(3);
    assert!(begun.elapsed() < most, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_cut_ends_what_a_stop_would_have_waited_for() {
    let (fixture, builder) = fixture().await;
    let server = builder.build().unwrap();
    let exec = server.service().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let (cut, was_cut) = oneshot::channel::<()>();
    let serving = server.serve_or_cut(async { drop(stopped.await) }, async { drop(was_cut.await) });
    let serving = tokio::spawn(serving);
    let _running = start_sleep(&fixture, &exec).await;
    let begun = Instant::now();
    stop.send(()).unwrap();
    cut.send(()).unwrap();
    assert_eq!(bounded(serving).await.unwrap().unwrap(), Shutdown::default());
    assert!(begun.elapsed() < DRAIN_TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!(exec.processes(), 0);
}
