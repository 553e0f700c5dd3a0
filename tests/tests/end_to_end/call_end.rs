//! History tells who ended a command, and blames nobody else.

use std::fs;
use std::path::Path;

use baton_support::process::Part;
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

/// The first line of `baton WORDS…`, as JSON.
fn first_line(world: &World, words: &[&str]) -> Option<Value> {
    let mut baton = world.home.baton();
    baton.args(words).env("BATON_TICKET", world.ticket.to_string());
    let finished = run(baton);
    let line = finished.text().lines().next()?.to_owned();
    Some(serde_json::from_str(&line).unwrap())
}

/// The outcome that a client's trace file has of its one command.
fn outcome_in(file: &Path) -> String {
    let trace: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let spans = trace["resourceSpans"].as_array().unwrap().iter();
    let spans = spans.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
    let spans = spans.flat_map(|scope| scope["spans"].as_array().unwrap());
    let mut attributes = spans.flat_map(|span| span["attributes"].as_array().unwrap());
    let outcome = attributes
        .find(|attribute| attribute["key"] == "baton.outcome")
        .unwrap();
    outcome["value"]["stringValue"].as_str().unwrap().to_owned()
}

/// Asserts how and why the newest command ended, by the history of a running exec-server, and that none of its processes is left.
#[track_caller]
fn assert_ended(world: &World, mark: &Mark, outcome: &str, call_end: Option<&str>, fault: Option<&str>) {
    mark.await_gone();
    let record = poll("its end is on record", || {
        let record = first_line(world, &["history", "--json"])?;
        (record["outcome"] != "running").then_some(record)
    });
    let shown = first_line(world, &["show", "--json", record["id"].as_str().unwrap()]).unwrap();
    for record in [record, shown] {
        let told = ["outcome", "call_end", "fault"].map(|key| record[key].as_str());
        assert_eq!(told, [Some(outcome), call_end, fault], "{record}");
    }
}

#[test]
fn history_tells_who_ended_a_command() {
    let mut world = World::new();
    let mark = Mark::new();

    assert_eq!(run(world.exec(["false"])).code, 1);
    assert_ended(&world, &mark, "exited", None, None);

    let interrupted = endless(&world, &mark, &[]);
    interrupted.signal(Signal::INT);
    interrupted.finish();
    assert_ended(
        &world,
        &mark,
        "killed",
        Some("reset"),
        Some("its client reset the call"),
    );

    endless(&world, &mark, &["--timeout", "300ms"]).finish();
    assert_ended(
        &world,
        &mark,
        "timed_out",
        Some("deadline"),
        Some("the deadline of its call passed"),
    );

    let lost = endless(&world, &mark, &[]);
    lost.signal(Signal::KILL);
    lost.finish();
    assert_ended(
        &world,
        &mark,
        "killed",
        Some("client_lost"),
        Some("its client was lost: the client's connection ended"),
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
        Some("connection_lost"),
        Some("the exec-server lost its connection to the relay"),
    );

    let list = world.home.config("allowed_clients");
    let allowed = fs::read_to_string(&list).unwrap();
    let file = world.home.file("revoked.json");
    let revoked = endless(&world, &mark, &["--trace-json", file.to_str().unwrap()]);
    fs::write(&list, format!("{} other clamp\n", Home::new().public())).unwrap();
    revoked.finish().assert_failed(255, "key is not allowed");
    assert_eq!(outcome_in(&file), "killed");
    mark.await_gone();
    fs::write(&list, allowed).unwrap();
    assert_ended(
        &world,
        &mark,
        "killed",
        Some("revoked"),
        Some("its client's key was taken off the allow-list"),
    );

    let stopped = endless(&world, &mark, &[]);
    world.stop_exec_server();
    stopped.finish().assert_failed(255, "shutting down");
    let url = format!("http://{}", world.relay_address);
    world.exec_server = Part::start("exec-server", world.home.baton_exec_server(&url)).unwrap();
    world.await_registration();
    assert_ended(
        &world,
        &mark,
        "killed",
        Some("shut_down"),
        Some("the exec-server shut down"),
    );
}
