//! No byte is lost: with short commands, large outputs and inputs, and slow readers.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use baton_core_client::{Client, Command, Event, ExitStatus, RunError, StartFailure};
use baton_support::load;
use baton_support::scale::scaled;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Input, PATIENCE, Running, Testbed, run};

type Failure = Box<dyn Error + Send + Sync>;

/// Runs a test of the client library on a runtime of its own, with a deadline.
fn with_client<F: Future<Output = ()>>(test: impl FnOnce(Client) -> F) {
    let testbed = Testbed::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = testbed.client();
        timeout(4 * PATIENCE, test(client.clone())).await.unwrap();
        client.close().await;
    });
}

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Compares the output of `seq 1 N`, piece by piece, with the expected one.
struct Seq {
    next: u64,
    last: u64,
    ahead: Vec<u8>,
}

impl Seq {
    fn new(last: u64) -> Self {
        Self {
            next: 1,
            last,
            ahead: Vec::new(),
        }
    }

    /// The N for which `seq 1 N` prints about `bytes` bytes.
    fn last_for(bytes: u64) -> u64 {
        // Most lines have seven or eight digits and a line feed.
        bytes / 8
    }

    #[track_caller]
    fn continues_with(&mut self, piece: &[u8]) {
        while self.ahead.len() < piece.len() && self.next <= self.last {
            writeln!(self.ahead, "{}", self.next).unwrap();
            self.next += 1;
        }
        let is_same = self.ahead.len() >= piece.len() && self.ahead[..piece.len()] == *piece;
        assert!(is_same, "the output differs before {}", self.next);
        self.ahead.drain(..piece.len());
    }

    #[track_caller]
    fn is_complete(&self) {
        assert!(
            self.next > self.last && self.ahead.is_empty(),
            "the output ends before {}",
            self.next
        );
    }
}

fn seq(last: u64) -> Command {
    Command::new("seq").arg("1").arg(last.to_string())
}

/// Runs a command with this input. Returns its exit status and its stdout.
async fn through(client: &Client, command: Command, input: Bytes) -> Result<(ExitStatus, Vec<u8>), Failure> {
    let (mut run, mut stdin) = client.start(command).await?;
    let feeding = tokio::spawn(async move {
        stdin.write(input).await?;
        stdin.close().await
    });
    let (mut stdout, mut exit) = (Vec::new(), None);
    while let Some(event) = run.next().await? {
        match event {
            Event::Stdout(data) => stdout.extend_from_slice(&data),
            Event::Exited { status, .. } => exit = Some(status),
            _ => {}
        }
    }
    feeding.await??;
    Ok((exit.ok_or("no exit")?, stdout))
}

#[test]
fn of_many_echos_at_once_none_loses_a_byte() {
    let echos = scaled("echos", 1_000, 10_000) as usize;
    with_client(|client| async move {
        let once = move || {
            let client = client.clone();
            async move {
                let output = client.run(Command::new("echo").arg("ok")).await?;
                let whole = (output.status, &*output.stdout, &*output.stderr, output.truncated);
                match whole == (ExitStatus::Code(0), b"ok\n", b"", false) {
                    true => Ok(()),
                    false => Err::<(), Failure>(format!("{output:?}").into()),
                }
            }
        };
        load::in_flight(echos, 32, once).await.unwrap();
    });
}

#[test]
fn a_large_output_arrives_whole_in_the_library() {
    let last = Seq::last_for(scaled("bytes", 32 << 20, 256 << 20));
    with_client(|client| async move {
        let (mut run, stdin) = client.start(seq(last)).await.unwrap();
        drop(stdin);
        let mut expected = Seq::new(last);
        while let Some(event) = run.next().await.unwrap() {
            if let Event::Stdout(data) = event {
                expected.continues_with(&data);
            }
        }
        expected.is_complete();
    });
}

#[test]
fn a_large_output_that_is_read_late_arrives_whole_in_the_command_line() {
    let testbed = Testbed::new();
    let last = Seq::last_for(scaled("bytes", 16 << 20, 256 << 20));
    let exec = testbed.exec(["seq", "1", &last.to_string()]);
    let mut late = Running::start_unread(exec, Input::Open);
    // Another command completes meanwhile. It takes longer than filling every buffer on the path.
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    late.read();
    let finished = late.finish();
    assert_eq!(finished.code, 0, "{finished:?}");
    let mut expected = Seq::new(last);
    expected.continues_with(&finished.stdout);
    expected.is_complete();
}

#[test]
fn a_reader_that_stalls_stops_nobody_else_and_loses_nothing() {
    let last = Seq::last_for(16 << 20);
    with_client(|client| async move {
        let (mut stalled, stdin) = client.start(seq(last)).await.unwrap();
        drop(stdin);
        for _ in 0..50 {
            let output = client.run(Command::new("echo").arg("ok")).await.unwrap();
            assert_eq!(output.stdout, b"ok\n");
        }
        let (mut expected, mut exited) = (Seq::new(last), false);
        while let Some(event) = stalled.next().await.unwrap() {
            match event {
                Event::Stdout(data) => expected.continues_with(&data),
                Event::Exited { status, .. } => exited = status.success(),
                _ => {}
            }
        }
        expected.is_complete();
        assert!(exited);
    });
}

#[test]
fn what_goes_into_cat_comes_out_and_its_end_is_passed_on() {
    let testbed = Testbed::new();
    let input = random_bytes(1, 8 << 20);
    let finished = Running::start(testbed.exec(["cat"]), Input::Bytes(input.clone())).finish();
    assert_eq!((finished.code, &*finished.stderr), (0, ""));
    assert!(
        finished.stdout == input,
        "{} bytes of {}",
        finished.stdout.len(),
        input.len()
    );
}

#[test]
fn input_can_end_while_output_goes_on() {
    let testbed = Testbed::new();
    // The output after the end of input proves that the end of input arrived on its own.
    let exec = testbed.exec(["sh", "-c", "wc -c; seq 1 1000; echo end"]);
    let finished = Running::start(exec, Input::Bytes(random_bytes(2, 3 << 20))).finish();
    let (count, rest) = finished.text().split_once('\n').unwrap();
    assert_eq!(count.trim(), (3 << 20).to_string());
    assert!(
        rest.starts_with("1\n2\n") && rest.ends_with("\n1000\nend\n"),
        "{finished:?}"
    );
}

#[test]
fn thirty_two_different_commands_at_once_on_one_session_do_not_mix() {
    with_client(|client| async move {
        let client = Arc::new(client);
        let mut lanes = JoinSet::new();
        for lane in 0..32u64 {
            let client = Arc::clone(&client);
            lanes.spawn(async move {
                for round in 0..6 {
                    one_of_many(&client, lane, round).await.unwrap();
                }
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane.unwrap();
        }
    });
}

/// Runs one of several kinds of command, chosen by its index, and checks its whole result.
async fn one_of_many(client: &Client, lane: u64, round: u64) -> Result<(), Failure> {
    match (lane + round) % 6 {
        0 => {
            let text = format!("{lane} of {round}");
            let output = client.run(Command::new("echo").arg(&text)).await?;
            assert_eq!(output.stdout, format!("{text}\n").as_bytes());
        }
        1 => {
            let input = Bytes::from(random_bytes(lane * 100 + round, 256 << 10));
            let (status, stdout) = through(client, Command::new("cat"), input.clone()).await?;
            assert!(status.success() && stdout == input, "{status:?} {}", stdout.len());
        }
        2 => {
            let output = client.run(seq(20_000 + lane)).await?;
            let mut expected = Seq::new(20_000 + lane);
            expected.continues_with(&output.stdout);
            expected.is_complete();
        }
        3 => {
            let script = format!("echo out{lane}; echo err{round} >&2; exit {lane}");
            let output = client.run(Command::new("sh").arg("-c").arg(script)).await?;
            assert_eq!(output.status, ExitStatus::Code(lane.try_into()?));
            let expected = (format!("out{lane}\n"), format!("err{round}\n"));
            assert_eq!(
                (output.stdout, output.stderr),
                (expected.0.into_bytes(), expected.1.into_bytes())
            );
        }
        4 => {
            let error = client.run(Command::new("no-such-command")).await.unwrap_err();
            let is_not_found = matches!(
                error,
                RunError::Start {
                    failure: StartFailure::CommandNotFound,
                    ..
                }
            );
            assert!(is_not_found, "{error:?}");
        }
        _ => {
            let output = client
                .run(Command::new("sh").arg("-c").arg("kill -TERM $$"))
                .await?;
            assert!(
                matches!(output.status, ExitStatus::Signal { signal: 15, .. }),
                "{output:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_writer_learns_that_the_command_has_ended() {
    with_client(|client| async move {
        let command = Command::new("sh").arg("-c").arg("exit 7");
        let (mut run, mut stdin) = client.start(command).await.unwrap();
        let writing =
            tokio::spawn(async move { while stdin.write(Bytes::from_static(&[0; 65536])).await.is_ok() {} });
        let mut exit = None;
        while let Some(event) = run.next().await.unwrap() {
            if let Event::Exited { status, .. } = event {
                exit = Some(status);
            }
        }
        assert_eq!(exit, Some(ExitStatus::Code(7)));
        writing.await.unwrap();
    });
}
