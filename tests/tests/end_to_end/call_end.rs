//! History tells who ended a command, and blames nobody else.

use std::fs;

use baton_tests::process::Part;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Home, Input, Mark, Running, World, poll, relay, run, signal};

/// A command that never ends by itself, once it runs.
fn endless(world: &World, mark: &Mark, options: &[&str]) -> Running {
    let options = [&["--env", mark.variable()], options].concat();
    let running = Running::start(world.exec_with(&options, ["sleep", "1000"]), Input::Open);
    mark.await_processes(1);
    running
}

/// How the newest command ended and why, by the history of an exec-server that runs; and that nothing is left of it.
#[track_caller]
fn assert_ended(world: &World, mark: &Mark, outcome: &str, fault: &str) {
    mark.await_gone();
    let record = poll("its end is on record", || {
        let mut baton = world.home.baton();
        baton
            .args(["history", "--json"])
            .env("BATON_TICKET", world.ticket.to_string());
        let history = run(baton);
        let newest = history.text().lines().next()?.to_owned();
        let record: Value = serde_json::from_str(&newest).unwrap();
        (record["outcome"] != "running").then_some(record)
    });
    let told = (record["outcome"].as_str(), record["fault"].as_str());
    assert_eq!(told, (Some(outcome), Some(fault)), "{record}");
}

#[test]
fn history_tells_who_ended_a_command() {
    let mut world = World::new();

    let mark = Mark::new();
    let interrupted = endless(&world, &mark, &[]);
    interrupted.signal(Signal::INT);
    interrupted.finish();
    assert_ended(&world, &mark, "killed", "its client reset the call");

    endless(&world, &mark, &["--timeout", "300ms"]).finish();
    assert_ended(&world, &mark, "timed_out", "the deadline of its call passed");

    let lost = endless(&world, &mark, &[]);
    lost.signal(Signal::KILL);
    lost.finish();
    assert_ended(
        &world,
        &mark,
        "killed",
        "its client was lost: the client's connection ended",
    );

    let cut = endless(&world, &mark, &[]);
    signal(&world.relay, Signal::KILL);
    cut.finish()
        .assert_failed(255, "the connection to the relay was lost");
    mark.await_gone();
    (world.relay, _) = relay(&world.home, &world.relay_address.to_string(), &[]);
    world.await_registration();
    assert_ended(
        &world,
        &mark,
        "killed",
        "the exec-server lost its connection to the relay",
    );

    let list = world.home.config("allowed_clients");
    let allowed = fs::read_to_string(&list).unwrap();
    let revoked = endless(&world, &mark, &[]);
    fs::write(&list, format!("{} other clamp\n", Home::new().public())).unwrap();
    revoked.finish().assert_failed(255, "key is not allowed");
    mark.await_gone();
    fs::write(&list, allowed).unwrap();
    assert_ended(
        &world,
        &mark,
        "killed",
        "its client's key was taken off the allow-list",
    );

    let stopped = endless(&world, &mark, &[]);
    world.stop_exec_server();
    stopped.finish().assert_failed(255, "shutting down");
    let url = format!("http://{}", world.relay_address);
    world.exec_server = Part::start("exec-server", world.home.baton_exec_server(&url)).unwrap();
    world.await_registration();
    assert_ended(&world, &mark, "killed", "the exec-server shut down");
}
