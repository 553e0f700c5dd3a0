//! The worker roles of this executable: a client that runs commands; a writer of records and its peers, each in a
//! process of its own, so that it can be started anew; and a queue whose store never returns, in a process whose memory
//! is that of the queue.

mod barrier;
mod sustain;

use std::path::Path;
use std::time::Instant;

use baton_bench::floor::PROGRAM;
use baton_bench::{Failure, worker};
use baton_core_client::{Client, Command, Event, Seed};
use baton_metadata::record::{ThreadKey, Timings};
use baton_metadata::store::{UpkeepProgress, WriteSummary};
use baton_metadata::{AcceptError, Batch, ProcessPatch, Store, ThreadPatch, WriteError, WriterHandle};
use baton_proto::metadata::HistoryRequest;
use baton_support::process::usage::resident_bytes;
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;

use crate::million::DAY_NS;
use crate::records::{OWNER, end, start, whole};

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["queue", shape] => queue(shape),
        ["client", ticket, key] => client(ticket, key),
        ["barrier", directory] => barrier::main(Path::new(directory)),
        ["fsync", directory] => barrier::fsyncs(Path::new(directory)),
        ["sustain", directory] => sustain::main(Path::new(directory)),
        ["sqlite", directory] => sustain::sqlite(Path::new(directory)),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// A client of Baton on one thread, with one warm session. It answers:
///
/// * `execute WARM-UP COUNTED`: for each counted execution, the milliseconds from the exec-server's observation of the
///   exit to this client's receipt; then, for each counted execution, the milliseconds of the whole execution.
/// * `history FAILED DAYS LIMIT THREAD` and `show NAME`: the milliseconds until the last record arrived, and the number
///   of records.
/// * `kept`: runs one more execution; the seconds of a barrier after it, and the number of records.
fn client(ticket: &str, key: &str) -> Result<(), Failure> {
    let key = Seed::read(Path::new(key))?.client_key()?;
    let client = Client::new(ticket.parse()?, key);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        client.connect().await?;
        worker::answer("ready", async |request| {
            match request.split(' ').collect::<Vec<_>>()[..] {
                ["execute", warm_up, counted] => {
                    executions(&client, warm_up.parse()?, counted.parse()?).await
                }
                ["kept"] => kept(&client).await,
                ["history", failed, days, limit, thread] => {
                    let days: u64 = days.parse()?;
                    let request = HistoryRequest {
                        failed: failed == "1",
                        since_unix_ns: unix_now_ns() - days * DAY_NS,
                        limit: limit.parse()?,
                        thread_id: thread.trim_matches('-').to_owned(),
                        ..HistoryRequest::default()
                    };
                    let began = Instant::now();
                    let records = history(&client, request).await?;
                    Ok(vec![began.elapsed().as_secs_f64() * 1e3, records as f64])
                }
                ["show", name] => {
                    let began = Instant::now();
                    let found = client.records().show(name).await?;
                    Ok(vec![
                        began.elapsed().as_secs_f64() * 1e3,
                        f64::from(u8::from(found.record.is_some())),
                    ])
                }
                _ => Err(format!("no such request: {request}").into()),
            }
        })
        .await
    })
}

async fn executions(client: &Client, warm_up: usize, counted: usize) -> Result<Vec<f64>, Failure> {
    for _ in 0..warm_up {
        exit_milliseconds(client).await?;
    }
    let (mut exits, mut wholes) = (Vec::new(), Vec::new());
    for _ in 0..counted {
        let began = Instant::now();
        exits.push(exit_milliseconds(client).await?);
        wholes.push(began.elapsed().as_secs_f64() * 1e3);
    }
    exits.append(&mut wholes);
    Ok(exits)
}

async fn kept(client: &Client) -> Result<Vec<f64>, Failure> {
    exit_milliseconds(client).await?;
    let began = Instant::now();
    let flushed = client.records().flush(0).await?;
    let took = began.elapsed().as_secs_f64();
    if !flushed.durable {
        return Err(format!("the barrier failed: {flushed:?}").into());
    }
    let records = history(client, HistoryRequest::default()).await?;
    Ok(vec![took, records as f64])
}

/// The number of records that a query returns.
async fn history(client: &Client, request: HistoryRequest) -> Result<usize, Failure> {
    let mut pages = client.records().history(request).await?;
    let mut records = 0;
    while let Some(page) = pages.next().await? {
        records += page.records.len();
    }
    Ok(records)
}

async fn exit_milliseconds(client: &Client) -> Result<f64, Failure> {
    let (mut run, stdin) = client.start(Command::new(PROGRAM)).await?;
    let _ = stdin.close().await;
    let mut exit = f64::NAN;
    while let Some(event) = run.next().await? {
        if let Event::Exited {
            status,
            observed_unix_ns,
        } = event
        {
            exit = unix_now_ns().saturating_sub(observed_unix_ns) as f64 / 1e6;
            if !status.success() {
                return Err(format!("{PROGRAM}: {status:?}").into());
            }
        }
    }
    Ok(exit)
}

/// A store whose `write` never returns, as on a disk that does not respond.
struct StalledStore;

impl Store for StalledStore {
    fn write(&mut self, _batch: &Batch) -> Result<WriteSummary, WriteError> {
        loop {
            std::thread::park();
        }
    }

    fn upkeep(&mut self, _now_unix_ns: u64) -> Result<UpkeepProgress, WriteError> {
        Ok(UpkeepProgress::Done)
    }
}

/// Answers with the state of the queue at its bound, after as many patches again were accepted: growth of resident
/// bytes, bytes by the queue's own count, patches.
fn queue(shape: &str) -> Result<(), Failure> {
    let (process, value_bytes): (fn(u64) -> ProcessPatch, usize) = match shape {
        "least" => (least, 0),
        "usual" => (whole, 20),
        "largest" => (largest, 4_000),
        _ => return Err(format!("no such shape: {shape}").into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (handle, _writer) = baton_metadata::start(Box::new(StalledStore), Recorder::off())?;
    runtime.block_on(worker::answer("ready", async |_| {
        let pid = std::process::id();
        let before = resident_bytes(pid)?;
        fill(&handle, process, value_bytes);
        let stats = handle.stats();
        let after = resident_bytes(pid)?;
        Ok(vec![
            after.saturating_sub(before) as f64,
            stats.bytes as f64,
            (stats.waiting + stats.writing) as f64,
        ])
    }))
}

fn fill(handle: &WriterHandle, process: fn(u64) -> ProcessPatch, value_bytes: usize) {
    let mut threads = 0;
    while handle.accept(thread(threads, value_bytes)) != Err(AcceptError::Full) {
        threads += 1;
    }
    let mut processes = 0;
    while handle.stats().dropped == 0 {
        // Never refused: a full queue drops patches of finished processes instead.
        let _ = handle.accept(process(processes));
        processes += 1;
    }
    for n in processes..processes * 2 {
        let _ = handle.accept(process(n));
    }
}

fn thread(n: u64, value_bytes: usize) -> ThreadPatch {
    let key = ThreadKey {
        owner: OWNER,
        thread_id: format!("thread-{n}").into(),
    };
    let mut patch = ThreadPatch::touch(key, n);
    if value_bytes > 0 {
        patch
            .values
            .insert("status".into(), Some("v".repeat(value_bytes).into()));
    }
    patch
}

/// The smallest patch of a process: its end without timings.
fn least(n: u64) -> ProcessPatch {
    let mut patch = end(n);
    if let Some(end) = &mut patch.end {
        end.timings = None;
    }
    patch
}

/// A patch of the maximum size.
fn largest(n: u64) -> ProcessPatch {
    let mut patch = start(n);
    if let Some(start) = patch.start.as_mut().and_then(std::sync::Arc::get_mut) {
        start.argv = vec![vec![b'a'; 16 * 1024].into()].into();
        start.cwd = vec![b'd'; 4_000].into();
    }
    patch.merge(end(n));
    if let Some(end) = &mut patch.end {
        end.message = Some("f".repeat(2_000).into());
        end.timings = Some(Timings {
            encoded: vec![0; 2_000].into(),
            slowest: None,
        });
    }
    patch
}
