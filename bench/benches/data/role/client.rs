//! A client of Baton: a program that uses the library on one thread, with one warm session.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_bench::floor::PROGRAM;
use baton_bench::{Failure, worker};
use baton_core_client::limits::STDIN_CHUNK;
use baton_core_client::{Client, Command, Event, ExitStatus, Run, Seed, Ticket, keep_freed_memory};
use baton_support::load::sequential;
use baton_trace::record::unix_now_ns;
use bytes::BytesMut;
use rustix::pipe::fcntl_setpipe_size;
use tokio::io::AsyncReadExt as _;

use super::program::{check_count, consumer, producer};
use super::{runtime, word};
use crate::limits::LARGE_PIPE;

/// The time that a stream runs before exits are measured beside it.
const BESIDE_WARM_UP: Duration = Duration::from_millis(500);

/// Connects, then answers:
///
/// | request | answer |
/// |---|---|
/// | `sequential WARM-UP EXECUTIONS` | seconds of each execution |
/// | `connect` | seconds to open one further session, which is then closed |
/// | `download BYTES`, `upload BYTES` | seconds |
/// | `beside RATE EXECUTIONS` | bytes per second of a stream, then milliseconds from each exit to this client |
/// | `stall STREAMS BYTES FIRST SECONDS` | seconds of STREAMS streams at once |
///
/// RATE is in bytes per second; 0 is no stream, `full` is unlimited. With `stall`, the client reads FIRST bytes of each
/// stream and then nothing for SECONDS.
pub(super) fn main(ticket: &str, key: &str) -> Result<(), Failure> {
    keep_freed_memory();
    let ticket: Ticket = ticket.parse()?;
    let key = Seed::read(Path::new(key))?;
    runtime()?.block_on(async {
        let client = Client::new(ticket.clone(), key.client_key()?);
        client.connect().await?;
        worker::answer("ready", async |request| {
            let words = &mut request.split_whitespace();
            let task: String = word(words)?;
            match &task[..] {
                "sequential" => executions(&client, word(words)?, word(words)?).await,
                "connect" => {
                    let started = Instant::now();
                    let another = Client::new(ticket.clone(), key.client_key()?);
                    another.connect().await?;
                    let took = started.elapsed();
                    another.close().await;
                    Ok(vec![took.as_secs_f64()])
                }
                "download" => timed(download(&client, word(words)?)).await,
                "upload" => timed(upload(&client, word(words)?)).await,
                "beside" => {
                    let rate: String = word(words)?;
                    beside(&client, &rate, word(words)?).await
                }
                "stall" => {
                    let (streams, bytes, first) = (word(words)?, word(words)?, word(words)?);
                    let pause = Duration::from_secs(word(words)?);
                    timed(stall(&client, streams, bytes, first, pause)).await
                }
                _ => Err(format!("no such task: {task}").into()),
            }
        })
        .await
    })
}

async fn timed(work: impl Future<Output = Result<(), Failure>>) -> Result<Vec<f64>, Failure> {
    let started = Instant::now();
    work.await?;
    Ok(vec![started.elapsed().as_secs_f64()])
}

async fn executions(client: &Client, warm_up: usize, executions: usize) -> Result<Vec<f64>, Failure> {
    let client = client.clone();
    let run = async |client: &Client| check(client.run(Command::new(PROGRAM)).await?.status);
    // In a task, as in the ssh role.
    let took = tokio::spawn(async move {
        sequential(warm_up, || run(&client)).await?;
        sequential(executions, || run(&client)).await
    });
    Ok(took.await??.iter().map(|(took, ())| took.as_secs_f64()).collect())
}

fn command(argv: &[String]) -> Command {
    Command::new(&argv[0]).args(&argv[1..])
}

fn check(status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        Ok(())
    } else {
        Err(format!("the remote program ended with {status:?}").into())
    }
}

/// A stream of zeros to this client.
struct Incoming {
    run: Run,
    bytes: u64,
}

impl Incoming {
    async fn start(client: &Client, bytes: u64, rate: Option<u64>) -> Result<Self, Failure> {
        let (run, stdin) = client.start(command(&producer(bytes, rate)?)).await?;
        drop(stdin);
        Ok(Self { run, bytes: 0 })
    }

    /// Reads until `bytes` bytes in total have arrived. Returns `false` if the program has ended.
    async fn read(&mut self, bytes: u64) -> Result<bool, Failure> {
        while self.bytes < bytes {
            match self.run.next().await? {
                Some(Event::Stdout(data)) => self.bytes += data.len() as u64,
                Some(Event::Exited { status, .. }) => check(status)?,
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Reads to the end of the stream and checks the total.
    async fn finish(mut self, bytes: u64) -> Result<(), Failure> {
        while self.read(u64::MAX).await? {}
        check_count(self.bytes.to_string().as_bytes(), bytes)
    }
}

async fn download(client: &Client, bytes: u64) -> Result<(), Failure> {
    Incoming::start(client, bytes, None).await?.finish(bytes).await
}

/// Streams a local producer's output to a remote consumer's stdin.
async fn upload(client: &Client, bytes: u64) -> Result<(), Failure> {
    let argv = producer(bytes, None)?;
    let mut local = tokio::process::Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = local.stdout.take().ok_or("no pipe")?;
    // `baton exec` also enlarges a pipe with much data. If the system refuses, the pipe keeps its capacity.
    let _ = fcntl_setpipe_size(&pipe, LARGE_PIPE);
    let (mut run, mut stdin) = client.start(command(&consumer()?)).await?;
    let feed = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(STDIN_CHUNK);
            if pipe.read_buf(&mut buffer).await? == 0 {
                return Ok::<(), Failure>(stdin.close().await?);
            }
            stdin.write(buffer.split().freeze()).await?;
        }
    };
    let listen = async {
        let mut output = Vec::new();
        while let Some(event) = run.next().await? {
            match event {
                Event::Stdout(data) => output.extend_from_slice(&data),
                Event::Exited { status, .. } => check(status)?,
                _ => {}
            }
        }
        check_count(&output, bytes)
    };
    tokio::try_join!(feed, listen)?;
    local.wait().await?;
    Ok(())
}

/// Runs executions one after the other while another call of the session streams. Each sample is the time from the
/// exec-server's observation of the exit to this client's receipt. Both processes read the same clock of this machine.
async fn beside(client: &Client, rate: &str, executions: usize) -> Result<Vec<f64>, Failure> {
    let mut answer = vec![0.0];
    let exits = async {
        let mut took = Vec::new();
        for _ in 0..executions {
            took.push(exit_milliseconds(client).await?);
        }
        Ok::<_, Failure>(took)
    };
    if rate == "0" {
        answer.extend(exits.await?);
        return Ok(answer);
    }
    let rate = if rate == "full" { None } else { Some(rate.parse()?) };
    let mut stream = Incoming::start(client, u64::MAX, rate).await?;
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let streaming = tokio::spawn(async move {
        while stream.read(stream.bytes + 1).await? {
            counter.store(stream.bytes, Ordering::Relaxed);
        }
        Err::<(), Failure>("the stream ended".into())
    });
    tokio::time::sleep(BESIDE_WARM_UP).await;
    let (started, before) = (Instant::now(), received.load(Ordering::Relaxed));
    answer.extend(exits.await?);
    answer[0] = (received.load(Ordering::Relaxed) - before) as f64 / started.elapsed().as_secs_f64();
    if streaming.is_finished() {
        return streaming.await?.map(|()| answer);
    }
    // Dropping the run ends the program.
    streaming.abort();
    let _ = streaming.await;
    Ok(answer)
}

async fn exit_milliseconds(client: &Client) -> Result<f64, Failure> {
    let (mut run, stdin) = client.start(Command::new(PROGRAM)).await?;
    drop(stdin);
    let mut took = None;
    while let Some(event) = run.next().await? {
        if let Event::Exited {
            status,
            observed_unix_ns,
        } = event
        {
            // Subtract as integers: an f64 of nanoseconds since 1970 has a resolution of some hundred nanoseconds.
            let nanoseconds = unix_now_ns().wrapping_sub(observed_unix_ns).cast_signed();
            took = Some(nanoseconds as f64 / 1e6);
            check(status)?;
        }
    }
    Ok(took.ok_or("closed before it exited")?)
}

async fn stall(
    client: &Client,
    streams: usize,
    bytes: u64,
    first: u64,
    pause: Duration,
) -> Result<(), Failure> {
    let mut stalled = Vec::new();
    for _ in 0..streams {
        let mut stream = Incoming::start(client, bytes, None).await?;
        stream.read(first).await?;
        stalled.push(stream);
    }
    tokio::time::sleep(pause).await;
    // Concurrently, so that no stream waits for another.
    let mut finishing = tokio::task::JoinSet::new();
    for stream in stalled {
        finishing.spawn(stream.finish(bytes));
    }
    while let Some(finished) = finishing.join_next().await {
        finished??;
    }
    Ok(())
}
