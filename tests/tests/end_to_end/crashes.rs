//! The real exec-server with `--durability start` is killed with SIGKILL at random points, under load and during its
//! start, repeatedly on the same state. A client repeats every start whose answer was lost.
//!
//! Each command appends a line to a file when it runs. The test asserts that:
//!
//! - no line occurs twice;
//! - every record that a barrier covered is in the history at the end;
//! - every exec-server starts.
//!
//! `cargo test` runs 8 rounds, `BATON_TEST_FULL=1` 500, `BATON_CRASHES=N` N. The seed is printed; `BATON_TEST_SEED=N`
//! sets it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use baton_channel::Channel;
use baton_proto::Epoch;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{RunRequest, Start, run_request};
use baton_proto::metadata::{HistoryRequest, Outcome};
use baton_rpc::exec::exec_client::ExecClient;
use baton_support::process::RunningProgram;
use baton_support::scale::{scaled, seed};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Testbed, signal};

/// Number of concurrent starts.
const TASKS: usize = 8;

/// A start, and the epoch that it names.
#[derive(Clone)]
struct Attempt {
    n: u64,
    epoch: Epoch,
}

/// The answer to a start.
enum Answer {
    /// The command exited. `is_durable`: a barrier behind it succeeded.
    Ended { is_durable: bool },
    /// The exec-server reports that an earlier epoch may have run it, so it must not run again.
    MayHaveRun,
    /// The session was lost, so the result is unknown.
    Lost,
}

fn id(n: u64) -> [u8; 16] {
    let mut id = [0x5a; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

fn start(attempt: &Attempt, runs: &Path) -> Start {
    let script = format!("echo {} >>{}", attempt.n, runs.display());
    Start {
        process_id: id(attempt.n).to_vec().into(),
        epoch: attempt.epoch.0.to_vec().into(),
        argv: ["/bin/sh".to_owned(), "-c".to_owned(), script]
            .map(Into::into)
            .to_vec(),
        ..Start::default()
    }
}

async fn execute(channel: Channel, start: Start, flush: bool) -> Answer {
    let request = RunRequest {
        kind: Some(run_request::Kind::Start(start)),
    };
    let call = ExecClient::new(channel.clone())
        .run(tokio_stream::once(request))
        .await;
    let mut events = match call {
        Ok(events) => events.into_inner(),
        Err(status) => return refused(&status),
    };
    let mut has_exited = false;
    loop {
        match events.message().await {
            Ok(Some(event)) => has_exited |= matches!(event.kind, Some(Kind::Exited(_))),
            Ok(None) if has_exited => break,
            Ok(None) => panic!("a command without an exit"),
            Err(status) => return refused(&status),
        }
    }
    let flushed = match flush {
        true => baton_core_client::Client::over(channel)
            .records()
            .flush(0)
            .await
            .ok(),
        false => None,
    };
    Answer::Ended {
        is_durable: flushed.is_some_and(|flushed| flushed.durable),
    }
}

fn refused(status: &tonic::Status) -> Answer {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::Unknown => Answer::Lost,
        tonic::Code::Aborted | tonic::Code::FailedPrecondition => Answer::MayHaveRun,
        _ => panic!("{status:?}"),
    }
}

#[test]
fn a_start_repeated_after_a_crash_never_runs_twice_and_barriers_hold() {
    let mut random = StdRng::seed_from_u64(seed());
    let rounds = match std::env::var("BATON_CRASHES") {
        Ok(rounds) => rounds.parse().expect("BATON_CRASHES is a number"),
        Err(_) => scaled("kill -9", 8, 500),
    };
    let mut testbed = Testbed::new();
    testbed.stop_exec_server();
    let runs = testbed.home.file("runs");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut next = 0;
    // Starts whose answer was lost, which are repeated, and commands that a barrier has covered.
    let mut lost: Vec<Attempt> = Vec::new();
    let mut durable: HashSet<u64> = HashSet::new();
    let (mut ended, mut may_have_run, mut repeated, mut while_starting) = (0, 0, 0, 0);
    for round in 0..rounds {
        let mut command = testbed
            .home
            .baton_exec_server(&format!("http://{}", testbed.relay_address));
        command.args(["--durability", "start"]);
        testbed.exec_server = RunningProgram::start("exec-server", command).unwrap();
        if random.random_range(0..6) == 0 {
            // Kill it at a random time during its start: before, while and after it opens its state.
            while_starting += 1;
            std::thread::sleep(Duration::from_micros(random.random_range(0..120_000)));
        } else {
            testbed.await_registration();
            // Kill it after a number of answers and a random pause, so that the load does not depend on the machine.
            let answers = ended + random.random_range(0..40);
            let load = Duration::from_micros(random.random_range(0..20_000));
            let channel = Channel::new(testbed.ticket.clone(), testbed.home.seed().client_key().unwrap());
            let again = std::mem::take(&mut lost);
            repeated += again.len();
            let (server, runs) = (&testbed.exec_server, runs.as_path());
            runtime.block_on(async {
                let epoch = tokio::time::timeout(PATIENCE, channel.connect()).await;
                let epoch = epoch.expect("connected within the deadline").unwrap();
                let mut under_way = JoinSet::new();
                let mut of_task: HashMap<tokio::task::Id, Attempt> = HashMap::new();
                // A repeated start names its first epoch or, as from a client that assumes it never ran, the current
                // epoch.
                let mut again = again.into_iter().map(|attempt| match random.random() {
                    true => attempt,
                    false => Attempt { epoch, ..attempt },
                });
                let enough = Notify::new();
                let kill = async {
                    // An exec-server that does not answer is killed too; the assertions below detect the failure.
                    let _ = tokio::time::timeout(PATIENCE, enough.notified()).await;
                    tokio::time::sleep(load).await;
                };
                tokio::pin!(kill);
                let mut is_killed = false;
                loop {
                    if ended >= answers {
                        enough.notify_one();
                    }
                    while !is_killed && under_way.len() < TASKS {
                        let attempt = again.next().unwrap_or_else(|| {
                            next += 1;
                            Attempt { n: next, epoch }
                        });
                        let one = execute(channel.clone(), start(&attempt, runs), attempt.n % 5 == 0);
                        let handle = under_way.spawn(one);
                        of_task.insert(handle.id(), attempt);
                    }
                    tokio::select! {
                        () = &mut kill, if !is_killed => {
                            signal(server, Signal::KILL);
                            is_killed = true;
                        }
                        answer = under_way.join_next_with_id() => {
                            let Some(answer) = answer else { break };
                            let (task, answer) = answer.unwrap();
                            let attempt = of_task.remove(&task).unwrap();
                            match answer {
                                Answer::Ended { is_durable } => {
                                    ended += 1;
                                    if is_durable {
                                        durable.insert(attempt.n);
                                    }
                                }
                                Answer::MayHaveRun => may_have_run += 1,
                                Answer::Lost => lost.push(attempt),
                            }
                        }
                    }
                }
                lost.extend(again);
            });
        }
        // Under load it was killed above; a second kill has no effect.
        signal(&testbed.exec_server, Signal::KILL);
        testbed.exec_server.wait(PATIENCE).unwrap();
        let mut once = HashSet::new();
        let text = fs::read_to_string(&runs).unwrap_or_default();
        for line in text.lines() {
            assert!(once.insert(line.to_owned()), "round {round}: {line} ran twice");
        }
    }
    let mut command = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    command.args(["--durability", "start"]);
    testbed.exec_server = RunningProgram::start("exec-server", command).unwrap();
    testbed.await_registration();
    let kept: HashSet<Vec<u8>> = runtime.block_on(async {
        let client = testbed.client();
        let pages = client.records().history(HistoryRequest::default()).await;
        let mut pages = pages.unwrap();
        let mut kept = HashSet::new();
        while let Some(page) = pages.next().await.unwrap() {
            // Only records with an exit: the barrier was requested after the client had received the exit.
            let records = page.records.into_iter();
            let exited = records.filter(|record| record.outcome() == Outcome::Exited);
            kept.extend(exited.map(|record| record.process_id.to_vec()));
        }
        kept
    });
    for n in &durable {
        assert!(kept.contains(&id(*n)[..]), "the record of {n} is lost");
    }
    println!(
        "{while_starting} killed during their start; {ended} commands exited, {} of them behind a barrier and in the \
         history; {repeated} starts were repeated, {may_have_run} of which an earlier epoch may have run",
        durable.len()
    );
    assert!(
        rounds < 8 || !durable.is_empty(),
        "no command was behind a barrier, so nothing was checked"
    );
}
