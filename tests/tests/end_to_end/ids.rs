//! What scripts and agents use: ids, detached commands, events as JSON, limited output.

use std::process::{Command, Stdio};
use std::time::Duration;

use baton_core_client::{Command as Remote, Event, ExitStatus, OnFull, ProcessId, RunError, StartFailure};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Finished, Input, Mark, Running, Testbed, poll, run};

/// `baton WORDS…` as the testbed's client.
fn baton(testbed: &Testbed, words: &[&str]) -> Command {
    let mut baton = testbed.home.baton();
    baton.args(words).env("BATON_TICKET", testbed.ticket.to_string());
    baton
}

fn uuid() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    id.trim().to_owned()
}

fn lines(finished: &Finished) -> Vec<Value> {
    let lines = finished.text().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One field of each line that has it.
fn fields<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter_map(|line| line.get(name)).collect()
}

#[test]
fn a_detached_command_runs_without_a_client_and_is_found_by_its_id() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let go = testbed.home.file("go");
    let script = format!(
        "echo one; until [ -e {} ]; do sleep 0.01; done; echo two >&2; exit 5",
        go.display()
    );
    let options = ["--detach", "--env", mark.variable()];
    let started = run(testbed.exec_with(&options, ["sh", "-c", &script]));
    assert_eq!((started.code, &*started.stderr), (0, ""), "{started:?}");
    let id = started.text().trim();
    assert!(id.parse::<ProcessId>().is_ok(), "{started:?}");
    mark.await_processes(1);
    let listed = run(baton(&testbed, &["ps", "--json"]));
    assert_eq!(lines(&listed)[0]["state"], "detached");
    std::fs::write(&go, "").unwrap();
    assert_eq!(run(baton(&testbed, &["wait", id])).code, 5);
    let logs = run(baton(&testbed, &["logs", id]));
    assert_eq!((logs.text(), &*logs.stderr, logs.code), ("one\n", "two\n", 0));

    // By time: all of it, and nothing.
    let recent = run(baton(&testbed, &["logs", "--since", "1h", id]));
    assert_eq!((recent.text(), &*recent.stderr), ("one\n", "two\n"));
    let none = run(baton(&testbed, &["logs", "--since", "2100-01-01", "--json", id]));
    assert_eq!(fields(&lines(&none), "event"), ["exited", "closed"]);

    // As JSON, with the trace that its spans have.
    let waited = lines(&run(baton(&testbed, &["wait", "--json", id])));
    assert_eq!(
        (&waited[0]["event"], &waited[0]["code"]),
        (&"exited".into(), &5.into())
    );
    let logged = lines(&run(baton(&testbed, &["logs", "--json", id])));
    assert_eq!(
        fields(&logged, "event"),
        ["started", "output", "output", "exited", "closed"]
    );
    assert_eq!(fields(&logged, "seq"), [1, 2, 3, 4, 5]);
    assert_eq!(fields(&logged, "data"), ["one\n", "two\n"]);

    // It may not be killed by what becomes of its client, but by name.
    let started = run(testbed.exec_with(
        &["--detach", "--json", "--env", mark.variable()],
        ["sleep", "1000"],
    ));
    let started = lines(&started);
    let id = started[0]["id"].as_str().unwrap();
    assert_eq!(started[0]["event"], "detached");
    assert!(started[0]["trace_id"].is_string());
    let killed = run(baton(&testbed, &["kill", "--json", "-s", "KILL", id]));
    assert_eq!(
        (&lines(&killed)[0]["event"], &lines(&killed)[0]["signal"]),
        (&"signaled".into(), &"KILL".into())
    );
    mark.await_gone();
    assert_eq!(run(baton(&testbed, &["wait", id])).code, 137);

    // Its failure to start is told, as of any command.
    let failed = run(testbed.exec_with(&["--detach"], ["no-such-program"]));
    failed.assert_failed(127, "command not found");
    assert_eq!(failed.text(), "");
    let limited = run(testbed.exec_with(&["--detach", "--timeout", "300ms"], ["sleep", "1000"]));
    let waited = run(baton(&testbed, &["wait", "--json", limited.text().trim()]));
    assert_eq!(lines(&waited)[0]["killed_because"], "deadline");
}

#[test]
fn every_event_is_a_line_of_json_with_its_number_and_the_trace() {
    let testbed = Testbed::new();
    let script = r#"printf 'text\033 "x"\n'; sleep 0.05; printf '\377' >&2; exit 9"#;
    let mut exec = testbed.exec_with(&["--json"], ["sh", "-c", script]);
    exec.env(
        "TRACEPARENT",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let finished = run(exec);
    assert_eq!((finished.code, &*finished.stderr), (9, ""), "{finished:?}");
    let all = lines(&finished);
    assert_eq!(
        fields(&all, "event"),
        ["started", "output", "output", "exited", "closed"]
    );
    assert_eq!(fields(&all, "seq"), [1, 2, 3, 4, 5]);
    assert!(
        fields(&all, "trace_id")
            .iter()
            .all(|id| **id == "4bf92f3577b34da6a3ce929d0e0e4736")
    );
    assert_eq!(fields(&all, "trace_id").len(), 5);
    assert_eq!(fields(&all, "id").len(), 5);
    assert_eq!(
        (&all[1]["data"], &all[1]["stream"]),
        (&"text\u{1b} \"x\"\n".into(), &"stdout".into())
    );
    assert_eq!(
        (&all[2]["data_base64"], &all[2]["stream"]),
        (&"/w==".into(), &"stderr".into())
    );
    assert_eq!(all[3]["code"], 9);
    assert_eq!(
        (&all[4]["stdout_bytes"], &all[4]["stderr_bytes"]),
        (&10.into(), &1.into())
    );
    assert!(!finished.text().contains('\u{1b}'), "it steers the terminal");

    let killed = lines(&run(testbed.exec_with(&["--json"], ["sh", "-c", "kill -SEGV $$"])));
    assert_eq!(fields(&killed, "signal"), ["SEGV"]);
    let failed = run(testbed.exec_with(&["--json"], ["no-such-program"]));
    assert_eq!(failed.code, 127);
    let failed = lines(&failed);
    assert_eq!(
        (&failed[0]["event"], &failed[0]["exit_code"]),
        (&"failed".into(), &127.into())
    );
}

#[test]
fn limited_output_has_its_head_and_tail_and_says_what_is_cut() {
    let testbed = Testbed::new();
    let script = "seq 1 1000; echo error >&2";
    let finished = run(testbed.exec_with(&["--max-output", "30"], ["sh", "-c", script]));
    assert_eq!(finished.code, 0);
    let (head, tail) = finished.text().split_at(15);
    assert_eq!(head, "1\n2\n3\n4\n5\n6\n7\n8");
    let told = format!(
        "baton: {} bytes of output are cut here, by --max-output\n",
        3893 + 6 - 30
    );
    assert!(finished.stderr.starts_with(&format!("\n{told}")), "{finished:?}");
    let rest = finished.stderr.strip_prefix(&format!("\n{told}")).unwrap();
    assert_eq!(tail.len() + rest.len(), 15, "{finished:?}");
    assert!(
        "999\n1000\n".ends_with(tail) || tail.ends_with("1000\n"),
        "{finished:?}"
    );

    let whole = run(testbed.exec_with(&["--max-output", "1KiB"], ["seq", "1", "10"]));
    assert_eq!(
        (whole.text(), &*whole.stderr),
        ("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "")
    );
    let json = lines(&run(
        testbed.exec_with(&["--json", "--max-output", "0"], ["seq", "1", "10"])
    ));
    assert_eq!(fields(&json, "event"), ["started", "exited", "cut", "closed"]);
    assert_eq!(fields(&json, "bytes"), [21]);
    for size in ["x", "1GiB", "-1", ""] {
        let words = [&format!("--max-output={size}")[..]];
        run(testbed.exec_with(&words, ["true"])).assert_failed(2, "expected a size of at most 256 MiB");
    }
}

#[test]
fn a_start_with_the_id_of_an_earlier_one_goes_on_with_that() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let ran = testbed.home.file("ran");
    let note = format!("echo ran >> {}", ran.display());
    let exec = |id: &str, options: &[&str], script: &str| {
        let options = [&["--id", id, "--env", mark.variable()], options].concat();
        testbed.exec_with(&options, ["sh", "-c", &format!("{note}; {script}")])
    };
    let times = || std::fs::read_to_string(&ran).unwrap().lines().count();

    // It is over, and had no grace: only its exit is known.
    let id = uuid();
    let script = "echo out; exit 3";
    let without = ["--grace", "0s"];
    assert_eq!(run(exec(&id, &without, script)).text(), "out\n");
    let again = run(exec(&id, &without, script));
    assert_eq!((again.code, again.text(), times()), (3, "", 1), "{again:?}");
    assert!(
        again
            .stderr
            .contains("was started before; its output is not kept"),
        "{again:?}"
    );
    run(exec(&id, &[], "echo other")).assert_failed(255, "belongs to another command");

    // Its client is gone: the repeated one takes its place, with all of the output and the rest of the input.
    let id = uuid();
    let taken = testbed.home.file("taken");
    let script = &format!("tee {}", taken.display());
    let mut first = Running::start(exec(&id, &["--grace", "2m"], script), Input::Open);
    first.write(b"one ");
    poll("it takes its input", || {
        (std::fs::read(&taken).ok()? == b"one ").then_some(())
    });
    first.signal(Signal::KILL);
    first.finish();
    let detached = || lines(&run(baton(&testbed, &["ps", "--json"])))[0]["state"] == "detached";
    poll("the exec-server knows", || detached().then_some(()));
    let input = Input::Bytes(b"one two".to_vec());
    let second = Running::start(exec(&id, &["--grace", "2m"], script), input).finish();
    assert_eq!(
        (second.text(), second.code, times()),
        ("one two", 0, 2),
        "{second:?}"
    );
    assert!(second.stderr.contains("this is its client now"), "{second:?}");

    // Another client is attached to it.
    let id = uuid();
    let script = "echo out; read line; exit 4";
    let mut first = Running::start(exec(&id, &["--grace", "2m"], script), Input::Open);
    mark.await_processes(1);
    let told = testbed.home.file("told");
    let second = exec(&id, &["--grace", "2m"], script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let is_told = || {
        std::fs::read_to_string(&told)
            .unwrap()
            .contains("another client is attached to it")
    };
    poll("the second says what it does", || is_told().then_some(()));
    first.write(b"end\n");
    assert_eq!((first.finish().code, times()), (4, 3));
    let second = second.wait_with_output().unwrap();
    assert_eq!(
        (&*second.stdout, second.status.code()),
        (&b"out\n"[..], Some(4)),
        "{second:?}"
    );
    run(testbed.exec_with(&["--id", "x"], ["true"])).assert_failed(2, "expected a UUID");
}

#[test]
fn the_library_starts_a_command_of_one_id_once_and_tells_so() {
    let testbed = Testbed::new();
    let client = testbed.client();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let id = ProcessId([7; 16]);
    runtime.block_on(async {
        let command = || Remote::new("sh").args(["-c", "echo out; exit 2"]).id(id);
        assert_eq!(client.run(command()).await.unwrap().status, ExitStatus::Code(2));
        let repeated = client.run(command()).await;
        assert!(matches!(repeated, Err(RunError::Repeated)), "{repeated:?}");
        // With standard input it is another command.
        let refused = client.start(command()).await.err().unwrap();
        assert!(
            matches!(
                refused,
                RunError::Start {
                    failure: StartFailure::Conflict,
                    ..
                }
            ),
            "{refused}"
        );

        let detached = Remote::new("sh")
            .args(["-c", "echo out; exit 7"])
            .on_full(OnFull::Drop);
        let process = client.start_detached(detached.clone()).await.unwrap();
        assert_eq!(
            client.wait_for_exit(process).await.unwrap().status,
            ExitStatus::Code(7)
        );
        assert_eq!(
            client.start_detached(detached.clone().id(process)).await.unwrap(),
            process
        );
        let mut watch = client.watch(process, 0).await.unwrap();
        let mut output = Vec::new();
        let reading = async {
            while let Some(event) = watch.next().await.unwrap() {
                if let Event::Stdout(data) = event {
                    output.extend_from_slice(&data);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .unwrap();
        assert_eq!(output, b"out\n");
    });
}
