//! Many commands at once, and commands that begin before what they need is there.

use std::process::Stdio;
use std::time::Instant;

use baton_support::amount::amount;

use crate::support::{Home, PATIENCE, World, poll, relay, run};

#[test]
fn commands_started_at_once_all_run_however_many_sessions_a_connection_has() {
    let world = World::new();
    let crowd = amount("commands at once", 100, 500);
    let children: Vec<_> = (0..crowd)
        .map(|_| {
            let mut command = world.exec(["true"]);
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
    let mut world = World::new();
    let (relay_address, ticket) = (world.relay_address.to_string(), world.ticket.to_string());
    world.stop_exec_server();
    drop(world.relay);
    let mut command = world.home.exec(&ticket, [""; 0], ["echo", "ok"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(
        line.contains("cannot reach the relay") && line.contains("trying for "),
        "{line}"
    );
    let (_relay, _) = relay(&world.home, &relay_address, &[]);
    let mut exec_server = world.home.exec_server(&format!("http://{relay_address}"));
    exec_server.line_after("ticket: ", PATIENCE).unwrap();
    poll("the command ends", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"ok\n"[..])
    );
}

#[test]
fn what_waiting_cannot_cure_is_told_at_once() {
    let world = World::new();
    let stranger = Home::new();
    let started = Instant::now();
    let ticket = world.ticket.to_string();
    run(stranger.exec(&ticket, [""; 0], ["true"])).assert_failed(255, "key is not allowed");
    let mut other = world.ticket.clone();
    other.dial_token.0[0] ^= 1;
    let refused = run(world.home.exec(&other.to_string(), [""; 0], ["true"]));
    refused.assert_failed(255, "the relay refused this ticket");
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}
