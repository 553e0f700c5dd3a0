//! A client of Baton as a worker: a program that uses the library on one thread, with one warm session.
//!
//! It records and exports if `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Otherwise it samples nothing.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_bench::floor::{Cat, PROGRAM};
use baton_core_client::{ChannelConfig, Client, Command, Event, ExitStatus, Seed, Ticket};
use baton_export::Exporter;
use baton_support::load::{in_flight, sequential};
use baton_trace::record::{CallRecord, Side, unix_now_ns};
use baton_trace::recorder::Recorder;
use baton_trace::report::Coverage;
use baton_trace::sampler::Sampler;
use bytes::Bytes;

use super::answer;
use crate::Failure;
use crate::protocol::{Request, SLEEP, Task};

/// The time limit for exporting the last spans.
const FLUSH: Duration = Duration::from_secs(5);

/// Connects, then answers requests.
pub(super) fn main(ticket: &str, key: &str) -> Result<(), Failure> {
    let ticket: Ticket = ticket.parse()?;
    let exporter = Exporter::from_env(Side::Client)?.map(Arc::new);
    let recorder = match &exporter {
        Some(exporter) => Recorder::to(exporter.clone()),
        None => Recorder::off().sampling(Sampler::named("always_off", None).ok_or("no such sampler")?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = ChannelConfig {
            recorder,
            ..ChannelConfig::default()
        };
        let connect = async || {
            let key = Seed::read(Path::new(key))?.client_key()?;
            let client = Client::with_config(ticket.clone(), key, config.clone());
            client.connect().await?;
            Ok::<_, Failure>(client)
        };
        let client = connect().await?;
        let sessions = Sessions::default();
        answer("ready", async |request| {
            if let Task::OnSessions(width) = request.task {
                while sessions.len() < width {
                    sessions.give_back(connect().await?);
                }
            }
            handle(&client, &sessions, exporter.as_deref(), request).await
        })
        .await
    })
}

/// Sessions beside the first, opened when a task needs them. An execution borrows one.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<Vec<Client>>>);

impl Sessions {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn give_back(&self, client: Client) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    fn borrow(&self) -> Option<Client> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

async fn handle(
    client: &Client,
    sessions: &Sessions,
    exporter: Option<&Exporter>,
    request: Request,
) -> Result<Vec<f64>, Failure> {
    let Request {
        task,
        warm_up,
        executions,
    } = request;
    let client = client.clone();
    match task {
        Task::Sequential => {
            // In a task, as in the floor.
            let took = tokio::spawn(async move {
                sequential(warm_up, || run(&client)).await?;
                sequential(executions, || run(&client)).await
            });
            Ok(seconds(&took.await??))
        }
        Task::Piped => {
            let took = tokio::spawn(async move {
                sequential(warm_up, || run_piped(&client)).await?;
                sequential(executions, || run_piped(&client)).await
            });
            Ok(seconds(&took.await??))
        }
        Task::InFlight(width) => {
            let once = move || {
                let client = client.clone();
                async move { run(&client).await }
            };
            in_flight(warm_up, width, once.clone()).await?;
            let took = in_flight(executions, width, once).await?;
            Ok(vec![took.as_secs_f64() / executions as f64])
        }
        Task::OnSessions(width) => {
            let sessions = sessions.clone();
            let once = move || {
                let sessions = sessions.clone();
                async move {
                    let client = sessions.borrow().ok_or("more executions than sessions")?;
                    run(&client).await?;
                    sessions.give_back(client);
                    Ok::<_, Failure>(())
                }
            };
            in_flight(warm_up, width, once.clone()).await?;
            let took = in_flight(executions, width, once).await?;
            Ok(vec![took.as_secs_f64() / executions as f64])
        }
        Task::Remainder => {
            sequential(warm_up, || run_recorded(&client)).await?;
            let took = sequential(executions, || run_recorded(&client)).await?;
            Ok(took.iter().map(|(_, record)| remainder_percent(record)).collect())
        }
        Task::Exit => {
            sequential(warm_up, || exit_milliseconds(&client)).await?;
            let took = sequential(executions, || exit_milliseconds(&client)).await?;
            Ok(took.into_iter().map(|(_, milliseconds)| milliseconds).collect())
        }
        Task::Envelope => {
            sequential(warm_up, || run_recorded(&client)).await?;
            let took = sequential(executions, || run_recorded(&client)).await?;
            Ok(took
                .iter()
                .map(|(took, record)| {
                    let envelope = Coverage::of(record).envelope.duration_ns();
                    envelope as f64 / took.as_nanos() as f64
                })
                .collect())
        }
        Task::Started => {
            sequential(warm_up, || started(&client)).await?;
            let took = sequential(executions, || started(&client)).await?;
            Ok(took.into_iter().map(|(_, seconds)| seconds).collect())
        }
        Task::Cat => round_trips(&client, warm_up, executions).await,
        Task::Sleep => {
            let took = tokio::spawn(async move {
                sequential(warm_up, || sleep(&client)).await?;
                sequential(executions, || sleep(&client)).await
            });
            Ok(seconds(&took.await??))
        }
        Task::Finish => {
            client.close().await;
            while let Some(client) = sessions.borrow() {
                client.close().await;
            }
            if let Some(exporter) = exporter {
                exporter.shutdown(FLUSH);
            }
            Ok(Vec::new())
        }
    }
}

fn command() -> Command {
    Command::new(PROGRAM)
}

fn check(status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        Ok(())
    } else {
        Err(format!("{PROGRAM}: {status:?}").into())
    }
}

async fn run(client: &Client) -> Result<(), Failure> {
    check(client.run(command()).await?.status)
}

fn silent() -> Command {
    Command::new(SLEEP[0]).args(&SLEEP[1..])
}

async fn sleep(client: &Client) -> Result<(), Failure> {
    check(client.run(silent()).await?.status)
}

/// Seconds from the call of `Client::start` to the event `Started`.
async fn started(client: &Client) -> Result<f64, Failure> {
    let began = Instant::now();
    // Its stdin stays open, as for a caller that waits for `Started` before it writes.
    let (mut run, stdin) = client.start(silent()).await?;
    let mut took = None;
    while let Some(event) = run.next().await? {
        match event {
            Event::Started { .. } => took = Some(began.elapsed().as_secs_f64()),
            Event::Exited { status, .. } => check(status)?,
            _ => {}
        }
    }
    drop(stdin);
    Ok(took.ok_or("ended before it started")?)
}

/// Seconds of each round trip of a byte through one `cat`.
async fn round_trips(client: &Client, warm_up: usize, counted: usize) -> Result<Vec<f64>, Failure> {
    let (mut run, mut stdin) = client.start(Command::new(Cat::PROGRAM)).await?;
    let mut took = Vec::new();
    for _ in 0..warm_up + counted {
        let began = Instant::now();
        stdin.write(Bytes::from_static(b"x")).await?;
        loop {
            match run.next().await? {
                Some(Event::Stdout(_)) => break,
                Some(Event::Started { .. }) => {}
                other => return Err(format!("instead of a byte came {other:?}").into()),
            }
        }
        took.push(began.elapsed().as_secs_f64());
    }
    stdin.close().await?;
    while let Some(event) = run.next().await? {
        if let Event::Exited { status, .. } = event {
            check(status)?;
        }
    }
    Ok(took.split_off(warm_up))
}

async fn run_recorded(client: &Client) -> Result<CallRecord, Failure> {
    let output = client.run(command().trace(true)).await?;
    check(output.status)?;
    Ok(output.record.ok_or("there is no record of the call")?)
}

async fn run_piped(client: &Client) -> Result<(), Failure> {
    follow(client).await.map(|_| ())
}

/// Both times are of the same clock, because exec-server and client run on this machine.
async fn exit_milliseconds(client: &Client) -> Result<f64, Failure> {
    let (observed_unix_ns, received_unix_ns) = follow(client).await?;
    // Subtract as integers: an f64 of nanoseconds since 1970 has a resolution of some hundred nanoseconds.
    let nanoseconds = received_unix_ns.wrapping_sub(observed_unix_ns).cast_signed();
    Ok(nanoseconds as f64 / 1e6)
}

/// Runs one execution as a stream of events. Returns the time at which the exec-server observed the exit, and the time
/// of receipt.
async fn follow(client: &Client) -> Result<(u64, u64), Failure> {
    let (mut run, stdin) = client.start(command()).await?;
    drop(stdin);
    let mut exit = None;
    while let Some(event) = run.next().await? {
        if let Event::Exited {
            status,
            observed_unix_ns,
        } = event
        {
            exit = Some((observed_unix_ns, unix_now_ns()));
            check(status)?;
        }
    }
    Ok(exit.ok_or("closed before it exited")?)
}

fn remainder_percent(record: &CallRecord) -> f64 {
    let coverage = Coverage::of(record);
    100.0 * coverage.remainder_ns() as f64 / coverage.envelope.duration_ns() as f64
}

fn seconds<T>(took: &[(Duration, T)]) -> Vec<f64> {
    took.iter().map(|(took, _)| took.as_secs_f64()).collect()
}
