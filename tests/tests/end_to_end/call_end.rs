//! History has the call end of each command: which event or component ended it.

use std::fs;
use std::path::Path;

use baton_support::process::RunningProgram;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Home, Input, Mark, Running, Testbed, poll, relay, run, signal};

/// Starts a command that never ends by itself, and waits until it runs.
fn endless(testbed: &Testbed, mark: &Mark, options: &[&str]) -> Running {
    let options = [&["--env", mark.variable()], options].concat();
    let running = Running::start(testbed.exec_with(&options, ["sleep", "1000"]), Input::Open);
    mark.await_processes(1);
    running
}

/// The first line of `baton WORDS…`, as JSON.
fn first_line(testbed: &Testbed, words: &[&str]) -> Option<Value> {
    let mut baton = testbed.home.baton();
    baton.args(words).env("BATON_TICKET", testbed.ticket.to_string());
    let finished = run(baton);
    let line = finished.text().lines().next()?.to_owned();
    Some(serde_json::from_str(&line).unwrap())
}

/// The outcome of the one command in a client's trace file.
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

/// Asserts the outcome, call end and message of the newest command in the history, and that all its processes have ended.
#[track_caller]
fn assert_ended(
    testbed: &Testbed,
    mark: &Mark,
    outcome: &str,
    call_end: Option<&str>,
    message: Option<&str>,
) {
    mark.await_gone();
    let record = poll("its end is on record", || {
        let record = first_line(testbed, &["history", "--json"])?;
        (record["outcome"] != "running").then_some(record)
    });
    let shown = first_line(testbed, &["show", "--json", record["id"].as_str().unwrap()]).unwrap();
    for record in [record, shown] {
        let ended = ["outcome", "call_end", "message"].map(|key| record[key].as_str());
        assert_eq!(ended, [Some(outcome), call_end, message], "{record}");
    }
}

#[test]
fn history_has_the_call_end_of_a_command() {
    let mut testbed = Testbed::new();
    let mark = Mark::new();

    assert_eq!(run(testbed.exec(["false"])).code, 1);
    assert_ended(&testbed, &mark, "exited", None, None);

    let interrupted = endless(&testbed, &mark, &[]);
    interrupted.signal(Signal::INT);
    interrupted.finish();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("reset"),
        Some("its client reset the call"),
    );

    endless(&testbed, &mark, &["--timeout", "300ms"]).finish();
    assert_ended(
        &testbed,
        &mark,
        "timed_out",
        Some("deadline"),
        Some("the deadline of its call passed"),
    );

    let lost = endless(&testbed, &mark, &["--grace", "0s"]);
    lost.signal(Signal::KILL);
    lost.finish();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("client_lost"),
        Some("its client was lost: the client's connection ended"),
    );

    let graced = endless(&testbed, &mark, &["--grace", "1s"]);
    graced.signal(Signal::KILL);
    graced.finish();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("grace_expired"),
        Some("its session was lost, and its grace has passed"),
    );

    let interrupted = endless(&testbed, &mark, &["--grace", "10m"]);
    interrupted.signal(Signal::INT);
    interrupted.finish();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("reset"),
        Some("its client reset the call"),
    );

    let cut = endless(&testbed, &mark, &["--grace", "0s"]);
    signal(&testbed.relay, Signal::KILL);
    cut.finish()
        .assert_failed(255, "the connection to the relay was lost");
    mark.await_gone();
    (testbed.relay, _) = relay(&testbed.home, &testbed.relay_address.to_string(), &[]);
    testbed.await_registration();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("connection_lost"),
        Some("the exec-server lost its connection to the relay"),
    );

    let graced = endless(&testbed, &mark, &["--grace", "1s"]);
    signal(&testbed.relay, Signal::KILL);
    graced
        .finish()
        .assert_failed(255, "could not attach to its command");
    mark.await_gone();
    (testbed.relay, _) = relay(&testbed.home, &testbed.relay_address.to_string(), &[]);
    testbed.await_registration();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("grace_expired"),
        Some("its session was lost, and its grace has passed"),
    );

    let list = testbed.home.config("allowed_clients");
    let allowed = fs::read_to_string(&list).unwrap();
    let file = testbed.home.file("revoked.json");
    let revoked = endless(&testbed, &mark, &["--trace-json", file.to_str().unwrap()]);
    fs::write(&list, format!("{} other clamp\n", Home::new().public())).unwrap();
    revoked.finish().assert_failed(255, "key is not allowed");
    assert_eq!(outcome_in(&file), "killed");
    mark.await_gone();
    fs::write(&list, allowed).unwrap();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("revoked"),
        Some("its client's key was taken off the allow-list, or has expired"),
    );

    let stopped = endless(&testbed, &mark, &[]);
    testbed.stop_exec_server();
    stopped.finish().assert_failed(255, "shutting down");
    let url = format!("http://{}", testbed.relay_address);
    testbed.exec_server = RunningProgram::start("exec-server", testbed.home.baton_exec_server(&url)).unwrap();
    testbed.await_registration();
    assert_ended(
        &testbed,
        &mark,
        "killed",
        Some("shut_down"),
        Some("the exec-server shut down"),
    );
}
