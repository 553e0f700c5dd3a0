//! A command with a grace and its client survive lost connections: no byte is lost, none comes twice, one trace.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_core_client::{Command, Event, ExitStatus, Recovery, RunError, StartFailure};
use bytes::Bytes;
use rustix::process::Signal;
use tokio::time::timeout;

use crate::support::{Input, Mark, PATIENCE, Running, Testbed, relay, run, signal};

const GRACE: Duration = Duration::from_secs(120);

/// Ends the relay, and with it every connection, and starts it again.
fn restart_relay(testbed: &mut Testbed) {
    signal(&testbed.relay, Signal::KILL);
    let _ = testbed.relay.wait(PATIENCE);
    (testbed.relay, _) = relay(&testbed.home, &testbed.relay_address.to_string(), &[]);
    testbed.await_registration();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_command_and_its_input_and_output_go_on_over_relays_that_are_killed() {
    const PIECES: u8 = 40;
    let mut testbed = Testbed::new();
    let client = testbed.client();
    let notices = Arc::<Mutex<Vec<&str>>>::default();
    let seen = Arc::clone(&notices);
    let command = Command::new("cat")
        .grace(GRACE)
        .on_recovery(Arc::new(move |notice| {
            let name = match notice {
                Recovery::Lost { .. } => "lost",
                Recovery::Attached { .. } => "attached",
                _ => "other",
            };
            seen.lock().unwrap().push(name);
        }));
    let piece = |number: u8| vec![number; 100_000 + usize::from(number)];
    let expected: Vec<u8> = (0..PIECES).flat_map(piece).collect();
    let runtime = runtime();
    let (mut command, mut stdin) = runtime.block_on(client.start(command)).unwrap();
    let (go_on, mut gate) = tokio::sync::mpsc::channel::<()>(1);
    runtime.spawn(async move {
        for number in 0..PIECES {
            if number % 10 == 5 {
                gate.recv().await;
            }
            stdin.write(Bytes::from(piece(number))).await.unwrap();
        }
        stdin.close().await.unwrap();
    });
    let mut received = Vec::new();
    let (mut status, mut started) = (None, 0);
    let mut losses = 0;
    while let Some(event) = runtime.block_on(command.next()).unwrap() {
        match event {
            Event::Started { .. } => started += 1,
            Event::Stdout(data) => received.extend_from_slice(&data),
            Event::Exited { status: exit, .. } => assert!(status.replace(exit).is_none()),
            Event::Closed { truncated, .. } => assert!(!truncated),
            other => panic!("{other:?}"),
        }
        // The input waits, and so all of it that was written comes out first: pieces 5, 15, 25 and 35.
        let passed: usize = (0..5 + 10 * losses as u8).map(|number| piece(number).len()).sum();
        if losses < 4 && received.len() == passed {
            restart_relay(&mut testbed);
            losses += 1;
            go_on.blocking_send(()).unwrap();
        }
    }
    assert!(
        received == expected,
        "{} bytes of {}",
        received.len(),
        expected.len()
    );
    assert_eq!((status, started, losses), (Some(ExitStatus::Code(0)), 1, 4));
    assert_eq!(*notices.lock().unwrap(), ["lost", "attached"].repeat(4));
}

#[test]
fn the_command_line_goes_on_with_one_line_and_one_trace() {
    let mut testbed = Testbed::new();
    let mark = Mark::new();
    let file = testbed.home.file("trace.json");
    let options = [
        "--grace",
        "2m",
        "--env",
        mark.variable(),
        "--trace-json",
        file.to_str().unwrap(),
    ];
    let script = "echo one; read line; echo $line; exit 7";
    let mut running = Running::start(testbed.exec_with(&options, ["sh", "-c", script]), Input::Open);
    mark.await_processes(1);
    restart_relay(&mut testbed);
    running.write(b"two\n");
    let finished = running.finish();
    assert_eq!(
        (finished.text(), finished.code),
        ("one\ntwo\n", 7),
        "{finished:?}"
    );
    let lines = finished.stderr.lines();
    let lines: Vec<_> = lines.filter(|line| line.contains("lost")).collect();
    assert_eq!(
        lines,
        ["baton: the connection is lost; the command goes on, reconnecting"],
        "{finished:?}"
    );
    let trace = std::fs::read_to_string(&file).unwrap();
    // `relay.queue` is that of the request, which was answered over another session.
    for stage in ["recover", "relay.queue", "terminal.relay.queue"] {
        assert!(trace.contains(&format!("\"{stage}\"")), "{stage}: {trace}");
    }
    let mut check = testbed.home.baton();
    check.args(["trace", "check"]).arg(&file);
    let checked = run(check);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn a_client_that_gives_up_says_so_and_another_attaches() {
    let mut testbed = Testbed::new();
    let mark = Mark::new();
    let options = [
        "--grace",
        "4s",
        "--connect-timeout",
        "2s",
        "--env",
        mark.variable(),
    ];
    let script = "echo one; read line; echo $line; exit 7";
    let lost = Running::start(testbed.exec_with(&options, ["sh", "-c", script]), Input::Open);
    mark.await_processes(1);
    signal(&testbed.relay, Signal::KILL);
    let lost = lost.finish();
    // Its output may have been on the way.
    assert!("one\n".starts_with(lost.text()) && lost.code == 255, "{lost:?}");
    for said in ["could not attach to its command", "baton attach ID"] {
        assert!(lost.stderr.contains(said), "{lost:?}");
    }
    // One line of the loss, and one of the end.
    assert!(!lost.stderr.contains("trying for"), "{lost:?}");
    mark.await_gone();
    (testbed.relay, _) = relay(&testbed.home, &testbed.relay_address.to_string(), &[]);
    testbed.await_registration();

    // One that is killed leaves its command to another one.
    let options = ["--grace", "2m", "--env", mark.variable()];
    let killed = Running::start(testbed.exec_with(&options, ["sh", "-c", script]), Input::Open);
    mark.await_processes(1);
    killed.signal(Signal::KILL);
    killed.finish();
    let mut ps = testbed.home.baton();
    ps.args(["ps", "--json"]).arg(testbed.ticket.to_string());
    let listed = run(ps);
    let process: serde_json::Value = serde_json::from_str(listed.text().lines().last().unwrap()).unwrap();
    let mut wait = testbed.home.baton();
    wait.arg("wait").arg(process["id"].as_str().unwrap());
    wait.arg(testbed.ticket.to_string());
    let waiting = Running::start(wait, Input::Open);
    let mut attach = testbed.home.baton();
    attach.arg("attach").arg(process["id"].as_str().unwrap());
    attach.arg(testbed.ticket.to_string());
    let mut attached = Running::start(attach, Input::Open);
    let mut logs = testbed.home.baton();
    logs.args(["logs", "-f"]).arg(process["id"].as_str().unwrap());
    logs.arg(testbed.ticket.to_string());
    let watching = Running::start(logs, Input::Open);
    attached.write(b"two\n");
    let finished = attached.finish();
    assert_eq!(
        (finished.text(), finished.code),
        ("one\ntwo\n", 7),
        "{finished:?}"
    );
    assert_eq!(waiting.finish().code, 7);
    watching.finish().assert_printed("one\ntwo\n");
}

#[test]
fn a_dropped_run_kills_although_it_was_recovered_and_a_restarted_server_says_what_it_lost() {
    let mut testbed = Testbed::new();
    let client = testbed.client();
    let runtime = runtime();
    let mark = Mark::new();
    let (name, value) = mark.variable().split_once('=').unwrap();
    let sleep = Command::new("sleep").arg("300").env(name, value).grace(GRACE);
    let (mut command, stdin) = runtime.block_on(client.start(sleep.clone())).unwrap();
    drop(stdin);
    runtime.block_on(command.next()).unwrap();
    restart_relay(&mut testbed);
    // Attached again when the next event is waited for.
    let waited = runtime.block_on(async { timeout(Duration::from_secs(5), command.next()).await });
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(mark.processes().len(), 1);
    drop(command);
    mark.await_gone();

    let (mut command, stdin) = runtime.block_on(client.start(sleep)).unwrap();
    drop(stdin);
    runtime.block_on(command.next()).unwrap();
    signal(&testbed.exec_server, Signal::KILL);
    let url = format!("http://{}", testbed.relay_address);
    testbed.exec_server = testbed.home.exec_server(&url);
    testbed.await_registration();
    match runtime.block_on(command.next()) {
        Err(RunError::Start {
            failure: StartFailure::Lost,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}
