//! Ctrl-C and SIGTERM of a client, which its command gets, and the time that the command then has.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Input, Mark, Running, Testbed, poll, run};

/// Waits until a command has made a file.
fn await_file(file: &Path) {
    poll("its file exists", || file.exists().then_some(()));
}

/// Starts a shell with these traps, and waits until they are set.
fn traps(testbed: &Testbed, options: &[&str], traps: &str, input: Input) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    // Input arrives only after the client knows that the command has started. A signal before that drops the call.
    let script = format!(
        "{traps}; head -c 1 >/dev/null; : >{}; while :; do sleep 0.02; done",
        ready.display()
    );
    let is_open = matches!(input, Input::Open);
    let mut running = Running::start(testbed.exec_with(options, ["sh", "-c", &script]), input);
    if is_open {
        running.write(b"x");
    }
    await_file(&ready);
    running
}

#[test]
fn a_command_that_handles_ctrl_c_has_its_own_exit_code_and_last_lines() {
    let testbed = Testbed::new();
    for (signal, script, code) in [
        (Signal::INT, "trap 'echo bye; exit 7' INT", 7),
        (Signal::TERM, "trap 'echo bye; exit 0' TERM", 0),
    ] {
        let client = traps(&testbed, &[], script, Input::Open);
        client.signal(signal);
        let finished = client.finish();
        // The shell may say on standard error that the signal has ended its `sleep`.
        assert_eq!(
            (finished.code, finished.signal, finished.text()),
            (code, None, "bye\n"),
            "{finished:?}"
        );
    }
}

#[test]
fn ctrl_c_reaches_a_command_that_does_not_read_its_input() {
    let testbed = Testbed::new();
    let client = traps(&testbed, &[], "trap 'exit 7' INT", Input::Endless);
    client.signal(Signal::INT);
    assert_eq!(client.finish().code, 7);
}

#[test]
fn a_command_that_ignores_ctrl_c_is_killed_after_the_kill_grace() {
    let testbed = Testbed::new();
    for grace in ["0s", "700ms"] {
        let mark = Mark::new();
        let options = ["--kill-grace", grace, "--env", mark.variable()];
        let client = traps(&testbed, &options, "trap '' INT TERM", Input::Open);
        let begun = Instant::now();
        client.signal(Signal::INT);
        let finished = client.finish();
        finished.assert_failed(130, "baton: interrupted");
        assert_eq!(finished.signal, Some(Signal::INT.as_raw()));
        let least = humantime::parse_duration(grace).unwrap();
        assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        mark.await_gone();
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_the_command() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let first = testbed.home.file("first");
    let script = format!("trap ': >{}' INT; trap '' TERM", first.display());
    let options = ["--kill-grace", "10m", "--env", mark.variable()];
    let client = traps(&testbed, &options, &script, Input::Open);
    client.signal(Signal::INT);
    await_file(&first);
    assert!(!mark.processes().is_empty());
    client.signal(Signal::INT);
    client.finish().assert_failed(130, "baton: interrupted");
    mark.await_gone();
}

#[test]
fn a_client_that_hangs_up_leaves_a_command_with_a_grace_and_one_that_is_terminated_ends_it() {
    let testbed = Testbed::new();
    for (signal, runs_on) in [(Signal::HUP, true), (Signal::TERM, false)] {
        let mark = Mark::new();
        let options = ["--grace", "10m", "--env", mark.variable()];
        let client = traps(&testbed, &options, ":", Input::Open);
        client.signal(signal);
        let finished = client.finish();
        assert_eq!(finished.signal, Some(signal.as_raw()), "{finished:?}");
        assert_eq!(finished.stderr.contains("`baton attach"), runs_on, "{finished:?}");
        match runs_on {
            // It would be killed within the exec-server's 200 ms; the round trip of another command takes longer than
            // the notice of the first one's end.
            true => {
                run(testbed.exec(["sleep", "1"])).assert_printed("");
                assert!(!mark.processes().is_empty());
            }
            false => mark.await_gone(),
        }
    }
}

#[test]
fn a_command_past_its_timeout_has_the_kill_grace_to_end() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let cleaned = testbed.home.file("cleaned-up");
    let script = format!("trap 'sleep 1; : >{}; exit' TERM", cleaned.display());
    let options = ["--timeout", "2s", "--env", mark.variable()];
    let client = traps(&testbed, &options, &script, Input::Open);
    client
        .finish()
        .assert_failed(124, "baton: the command did not end before its timeout");
    mark.await_gone();
    assert!(cleaned.exists());
}

#[test]
fn a_client_that_is_interrupted_while_the_exec_server_is_out_of_reach_ends() {
    let testbed = Testbed::new();
    let client = traps(
        &testbed,
        &["--kill-grace", "0s"],
        "trap 'exit 7' INT",
        Input::Open,
    );
    crate::support::signal(&testbed.exec_server, Signal::STOP);
    let begun = Instant::now();
    client.signal(Signal::INT);
    client.finish().assert_failed(130, "baton: interrupted");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    crate::support::signal(&testbed.exec_server, Signal::CONT);
    run(testbed.exec(["true"])).assert_printed("");
}
