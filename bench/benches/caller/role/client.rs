//! A client of Baton: a program that uses the library on one thread, with one warm session.

use std::path::Path;
use std::time::{Duration, Instant};

use baton_bench::floor::PROGRAM;
use baton_bench::worker::ROLE;
use baton_bench::{Failure, worker};
use baton_core_client::warm::Pool;
use baton_core_client::{Client, Command, Event, ExitStatus, Family, Seed, Stat, keep_freed_memory};
use baton_trace::stage::exec::FAMILY_CLI_READY;
use tokio::time::{sleep, timeout};

use super::runtime;
use crate::limits::{LEVELS, MARKER, POOL_PATIENCE, POOL_PAUSE, POOL_SIZE};

/// Connects, then answers:
///
/// | request | answer |
/// |---|---|
/// | `check-family` | nothing; an error if the exec-server does not find the marker of a family |
/// | `stream CONTENT BYTES`, `stream-jsonl CONTENT BYTES` | seconds of a stream, without and with the family `jsonl` |
/// | `warm N`, `pooled N`, `pooled-alone N` | seconds of each of N commands |
/// | `stat N PATH` | seconds of each of N `Stat` |
/// | `root N START` | seconds of each of N searches for the project root |
/// | `first-root N START` | the same, on a new session each |
pub(super) fn main(ticket: &str, key: &str) -> Result<(), Failure> {
    keep_freed_memory();
    let key = Seed::read(Path::new(key))?.client_key()?;
    let client = Client::new(ticket.parse()?, key);
    runtime()?.block_on(async {
        client.connect().await?;
        worker::answer("ready", async |request| {
            // A path is last, because it may have spaces.
            match request.splitn(3, ' ').collect::<Vec<_>>()[..] {
                ["check-family"] => check_family(&client).await,
                ["stream", content, bytes] => stream(&client, content, bytes.parse()?, None).await,
                ["stream-jsonl", content, bytes] => {
                    stream(&client, content, bytes.parse()?, Some(Family::JsonLines)).await
                }
                ["warm", commands] => warm(&client, commands.parse()?).await,
                ["pooled", commands] => pooled(&client, commands.parse()?).await,
                ["pooled-alone", commands] => pooled_alone(&client, commands.parse()?).await,
                ["stat", times, path] => stat(&client, times.parse()?, path).await,
                ["root", times, start] => root(&client, times.parse()?, start).await,
                ["first-root", times, start] => first_root(&client, times.parse()?, start).await,
                _ => Err(format!("no such task: {request}").into()),
            }
        })
        .await
    })
}

async fn check_family(client: &Client) -> Result<Vec<f64>, Failure> {
    let command = Command::new("/bin/echo").arg("{}").family(Family::JsonLines);
    let output = client.run(command.trace(true)).await?;
    check(output.status)?;
    let record = output.record.ok_or("there is no record of the call")?;
    match record.stage(FAMILY_CLI_READY) {
        Some(_) => Ok(Vec::new()),
        None => Err("the exec-server did not find the marker of a family".into()),
    }
}

/// Receives the output of a program that writes this content, and checks the number of bytes.
async fn stream(
    client: &Client,
    content: &str,
    bytes: u64,
    family: Option<Family>,
) -> Result<Vec<f64>, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command = command.args([ROLE, "write", content, &bytes.to_string()]);
    if let Some(family) = family {
        command = command.family(family);
    }
    let started = Instant::now();
    let (mut run, stdin) = client.start(command).await?;
    drop(stdin);
    let mut received = 0;
    while let Some(event) = run.next().await? {
        match event {
            Event::Stdout(data) => received += data.len() as u64,
            Event::Exited { status, .. } => check(status)?,
            _ => {}
        }
    }
    let took = started.elapsed();
    if received != bytes {
        return Err(format!("of {bytes} bytes {received} arrived").into());
    }
    Ok(vec![took.as_secs_f64()])
}

/// Runs commands on the warm session, beside a full pool as [`pooled`] has it.
async fn warm(client: &Client, commands: usize) -> Result<Vec<f64>, Failure> {
    let pool = Pool::start(client, POOL_SIZE)?;
    let mut took = Vec::with_capacity(commands);
    for _ in 0..commands {
        fill(&pool).await?;
        let started = Instant::now();
        run(client).await?;
        took.push(started.elapsed());
    }
    Ok(seconds(took))
}

/// Runs the first command of a pooled session each. The pool replaces the session meanwhile.
async fn pooled(client: &Client, commands: usize) -> Result<Vec<f64>, Failure> {
    let pool = Pool::start(client, POOL_SIZE)?;
    let mut took = Vec::with_capacity(commands);
    for _ in 0..commands {
        fill(&pool).await?;
        let started = Instant::now();
        let session = take(&pool)?;
        run(&session).await?;
        took.push(started.elapsed());
        session.close().await;
    }
    Ok(seconds(took))
}

/// As [`pooled`], without a pool that replaces the session.
async fn pooled_alone(client: &Client, commands: usize) -> Result<Vec<f64>, Failure> {
    let mut took = Vec::with_capacity(commands);
    for _ in 0..commands {
        let pool = Pool::start(client, 1)?;
        fill(&pool).await?;
        let started = Instant::now();
        let session = take(&pool)?;
        // The pool's task has not run since, because this runtime has one thread.
        drop(pool);
        run(&session).await?;
        took.push(started.elapsed());
        session.close().await;
    }
    Ok(seconds(took))
}

/// Waits until the pool is full, and then for [`POOL_PAUSE`].
async fn fill(pool: &Pool) -> Result<(), Failure> {
    timeout(POOL_PATIENCE, pool.filled()).await?;
    sleep(POOL_PAUSE).await;
    Ok(())
}

/// Takes a session, which must be established.
fn take(pool: &Pool) -> Result<Client, Failure> {
    let session = pool.take();
    match session.is_connected() {
        true => Ok(session),
        false => Err("the pool had no session".into()),
    }
}

async fn stat(client: &Client, times: usize, path: &str) -> Result<Vec<f64>, Failure> {
    let files = client.files();
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Instant::now();
        let Stat::Found(_) = files.stat(path, false).await? else {
            return Err(format!("{path} was not found").into());
        };
        took.push(started.elapsed());
    }
    Ok(seconds(took))
}

async fn root(client: &Client, times: usize, start: &str) -> Result<Vec<f64>, Failure> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        took.push(search(client, start).await?);
    }
    Ok(seconds(took))
}

/// Searches on a new session each. Connecting does not count.
async fn first_root(client: &Client, times: usize, start: &str) -> Result<Vec<f64>, Failure> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let session = client.sibling();
        session.connect().await?;
        took.push(search(&session, start).await?);
        session.close().await;
    }
    Ok(seconds(took))
}

/// One search, whose answer must be the root of the project.
async fn search(client: &Client, start: &str) -> Result<Duration, Failure> {
    let workspace = client.workspace();
    let started = Instant::now();
    let found = workspace.project_root(start, [MARKER]).await?;
    let took = started.elapsed();
    match found.root {
        Some(root) if root.depth as usize == LEVELS => Ok(took),
        other => Err(format!("not the root {LEVELS} levels up: {other:?}").into()),
    }
}

async fn run(client: &Client) -> Result<(), Failure> {
    check(client.run(Command::new(PROGRAM)).await?.status)
}

fn check(status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        Ok(())
    } else {
        Err(format!("the remote program ended with {status:?}").into())
    }
}

fn seconds(took: Vec<Duration>) -> Vec<f64> {
    took.iter().map(Duration::as_secs_f64).collect()
}
