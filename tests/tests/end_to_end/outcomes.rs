//! Outcome and fault of a command are the same in its JSON events, in the history and in its spans.

use std::fs;
use std::path::Path;

use baton_support::process::RunningProgram;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Finished, Input, Mark, Running, Testbed, poll, run, signal};

/// Outcome, fault and start failure.
type Words = [Option<String>; 3];

fn words(outcome: &str, fault: Option<&str>, start_failure: Option<&str>) -> Words {
    [Some(outcome), fault, start_failure].map(|word| word.map(str::to_owned))
}

fn of_json(line: &Value) -> Words {
    ["outcome", "fault", "start_failure"].map(|key| line[key].as_str().map(str::to_owned))
}

/// Those of the last event, `exited` or `failed`.
fn of_events(finished: &Finished) -> Words {
    let lines = finished
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let is_end = |line: &&Value| line["event"] == "exited" || line["event"] == "failed";
    of_json(lines.iter().rfind(is_end).unwrap())
}

/// Those of the `call` in a trace file, and its status code: 2 is an error.
fn of_span(file: &Path) -> (Words, u64) {
    let trace: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let spans = trace["resourceSpans"].as_array().unwrap().iter();
    let spans = spans.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
    let mut spans = spans.flat_map(|scope| scope["spans"].as_array().unwrap());
    let attribute = |span: &Value, key: &str| {
        let attributes = span["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["key"] == key)?;
        Some(found["value"]["stringValue"].as_str()?.to_owned())
    };
    let call = spans
        .find(|span| attribute(span, "baton.stage").as_deref() == Some("call"))
        .unwrap();
    let words = ["baton.outcome", "baton.fault", "baton.start_failure"].map(|key| attribute(call, key));
    (words, call["status"]["code"].as_u64().unwrap_or_default())
}

/// Those of the newest record, once the command has ended.
fn of_record(testbed: &Testbed) -> Words {
    let newest = poll("its end is on record", || {
        let mut history = testbed.home.baton();
        history
            .args(["history", "--json", "--limit", "1"])
            .env("BATON_TICKET", testbed.ticket.to_string());
        let finished = run(history);
        let record: Value = serde_json::from_str(finished.text().lines().next()?).unwrap();
        (record["outcome"] != "running").then_some(record)
    });
    of_json(&newest)
}

/// The ids that `baton history` lists.
fn listed(testbed: &Testbed, options: &[&str]) -> usize {
    let mut history = testbed.home.baton();
    history
        .args(["history", "--json"])
        .args(options)
        .env("BATON_TICKET", testbed.ticket.to_string());
    run(history).text().lines().count()
}

/// Starts a command that does not end by itself, with a trace file.
fn endless(testbed: &Testbed, mark: &Mark, file: &Path) -> Running {
    let options = [
        "--json",
        "--trace-json",
        file.to_str().unwrap(),
        "--env",
        mark.variable(),
    ];
    let running = Running::start(testbed.exec_with(&options, ["sleep", "1000"]), Input::Open);
    mark.await_processes(1);
    running
}

#[test]
fn messages_say_in_the_same_words_how_a_command_ended() {
    let mut testbed = Testbed::new();
    let not_found = "(failed_to_start, command_not_found, fault caller)";
    for (options, command, words) in [
        (&[][..], "no-such-program", not_found),
        (
            &["--cwd", "/no/such/directory"],
            "true",
            "(failed_to_start, bad_cwd, fault caller)",
        ),
        (&["--timeout", "300ms"], "cat", "(timed_out, fault limit)"),
    ] {
        let finished = Running::start(testbed.exec_with(options, [command]), Input::Open).finish();
        let last = finished.stderr.lines().last().unwrap_or_default();
        assert!(last.ends_with(words), "{finished:?}");
    }
    let mut embedded = testbed.home.baton();
    embedded.args(["run", "--quiet", "--", "no-such-program"]);
    let finished = run(embedded);
    assert!(finished.stderr.trim_end().ends_with(not_found), "{finished:?}");
    // What the command has done itself is told by its exit code alone.
    for script in ["exit 3", "kill -SEGV $$"] {
        let finished = run(testbed.exec_with(&[], ["sh", "-c", script]));
        assert_eq!(finished.stderr, "", "{script}");
    }

    let mark = Mark::new();
    let sleep = |testbed: &Testbed, name: &str| {
        let ready = testbed.home.file(name);
        // The client forwards its input once it knows that the command runs.
        let script = format!("read line; : >{}; sleep 1000", ready.display());
        let exec = testbed.exec_with(&["--env", mark.variable()], ["sh", "-c", &script]);
        let mut running = Running::start(exec, Input::Open);
        running.write(b"\n");
        poll("it runs", || ready.exists().then_some(()));
        running
    };
    let interrupted = sleep(&testbed, "first");
    interrupted.signal(Signal::INT);
    let finished = interrupted.finish();
    assert_eq!(
        finished.stderr, "baton: interrupted (killed INT, reset, fault caller)\n",
        "{finished:?}"
    );
    mark.await_gone();
    let stopped = sleep(&testbed, "second");
    testbed.stop_exec_server();
    let finished = stopped.finish();
    // With the signal, if its exit has arrived.
    let words = ", shut_down, fault server)";
    let is_killed = finished.stderr.contains("(killed");
    assert!(
        is_killed && finished.stderr.trim_end().ends_with(words),
        "{finished:?}"
    );
}

#[test]
fn outcome_and_fault_are_the_same_in_events_history_and_spans() {
    let mut testbed = Testbed::new();
    let file = testbed.home.file("trace.json");
    let path = file.to_str().unwrap().to_owned();
    let text_file = testbed.home.file("text");
    fs::write(&text_file, "no program").unwrap();
    let text_file = text_file.to_str().unwrap();
    let failed = |why| words("failed_to_start", Some("caller"), Some(why));
    for (options, command, expected) in [
        (&[][..], &["true"][..], words("exited", None, None)),
        (
            &[],
            &["sh", "-c", "exit 3"],
            words("exited", Some("command"), None),
        ),
        (
            &[],
            &["sh", "-c", "kill -SEGV $$"],
            words("signaled", Some("command"), None),
        ),
        (
            &["--timeout", "300ms"],
            &["sleep", "1000"],
            words("timed_out", Some("limit"), None),
        ),
        (&[], &["no-such-program"], failed("command_not_found")),
        (&[], &[text_file], failed("not_executable")),
        (&["--cwd", "/no/such/directory"], &["true"], failed("bad_cwd")),
    ] {
        let options = [&["--json", "--trace-json", &path], options].concat();
        let finished = run(testbed.exec_with(&options, command.iter().copied()));
        let (span, status) = of_span(&file);
        assert_eq!(of_events(&finished), expected, "{command:?}");
        assert_eq!(span, expected, "{command:?}");
        assert_eq!(of_record(&testbed), expected, "{command:?}");
        assert_eq!(status, if expected[1].is_some() { 2 } else { 0 }, "{command:?}");
        fs::remove_file(&file).unwrap();
    }

    // A cancellation is the caller's, and no failure.
    let mark = Mark::new();
    let interrupted = endless(&testbed, &mark, &file);
    interrupted.signal(Signal::INT);
    interrupted.finish();
    mark.await_gone();
    let expected = words("killed", Some("caller"), None);
    let (span, status) = of_span(&file);
    assert_eq!((of_record(&testbed), status), (expected.clone(), 0), "{span:?}");
    assert_eq!(span, expected);
    assert_eq!(listed(&testbed, &["--outcome", "killed", "--failed"]), 0);
    assert_eq!(listed(&testbed, &["--fault", "caller"]), 4);
    assert_eq!(listed(&testbed, &["--fault", "caller", "--failed"]), 3);
    assert_eq!(listed(&testbed, &["--fault", "command,limit"]), 3);
    assert_eq!(listed(&testbed, &["--fault", "network", "--fault", "server"]), 0);
    fs::remove_file(&file).unwrap();

    let url = format!("http://{}", testbed.relay_address);
    let stopped = endless(&testbed, &mark, &file);
    testbed.stop_exec_server();
    let finished = stopped.finish();
    let expected = words("killed", Some("server"), None);
    assert_eq!(of_events(&finished), expected);
    assert_eq!(of_span(&file).0, expected);
    testbed.exec_server = RunningProgram::start("exec-server", testbed.home.baton_exec_server(&url)).unwrap();
    testbed.await_registration();
    assert_eq!(of_record(&testbed), expected);
    fs::remove_file(&file).unwrap();

    // The client sees only that the connection is lost; the record knows that the exec-server ended.
    let lost = endless(&testbed, &mark, &file);
    // The history answers only once its record is on disk.
    assert_eq!(listed(&testbed, &["--limit", "1"]), 1);
    signal(&testbed.exec_server, Signal::KILL);
    let finished = lost.finish();
    let expected = words("lost", Some("network"), None);
    assert_eq!(of_events(&finished), expected);
    assert_eq!(of_span(&file).0, expected);
    testbed.exec_server = RunningProgram::start("exec-server", testbed.home.baton_exec_server(&url)).unwrap();
    testbed.await_registration();
    assert_eq!(of_record(&testbed), words("lost", Some("server"), None));
}
