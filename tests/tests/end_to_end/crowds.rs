//! Many concurrent commands, and commands that start before the relay and the exec-server do.

use std::process::Stdio;
use std::time::Instant;

use baton_support::scale::scaled;

use crate::support::{Home, PATIENCE, Testbed, poll, relay, run};

#[test]
fn commands_started_at_once_all_run_however_many_sessions_a_connection_has() {
    let testbed = Testbed::new();
    let crowd = scaled("commands at once", 100, 500);
    let children: Vec<_> = (0..crowd)
        .map(|_| {
            let mut command = testbed.exec(["true"]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_command_waits_for_a_relay_and_an_exec_server_and_says_why() {
    let mut testbed = Testbed::new();
    let (relay_address, ticket) = (testbed.relay_address.to_string(), testbed.ticket.to_string());
    testbed.stop_exec_server();
    drop(testbed.relay);
    let mut command = testbed.home.exec(&ticket, [""; 0], ["echo", "ok"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(
        line.contains("cannot reach the relay") && line.contains("trying for "),
        "{line}"
    );
    let (_relay, _) = relay(&testbed.home, &relay_address, &[]);
    let mut exec_server = testbed.home.exec_server(&format!("http://{relay_address}"));
    exec_server.line_after("ticket: ", PATIENCE).unwrap();
    poll("the command ends", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"ok\n"[..])
    );
}

#[test]
fn permanent_failures_are_reported_at_once() {
    let testbed = Testbed::new();
    let stranger = Home::new();
    let started = Instant::now();
    let ticket = testbed.ticket.to_string();
    run(stranger.exec(&ticket, [""; 0], ["true"])).assert_failed(255, "key is not allowed");
    let mut other = testbed.ticket.clone();
    other.dial_token.0[0] ^= 1;
    let refused = run(testbed.home.exec(&other.to_string(), [""; 0], ["true"]));
    refused.assert_failed(255, "the relay refused this ticket");
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}
