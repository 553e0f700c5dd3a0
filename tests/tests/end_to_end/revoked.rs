//! Revocation: the commands of a client are killed when its line is removed, and an unusable allow-list is reported as
//! such.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Home, Input, Mark, Running, Testbed, run};

/// Documented limit on the time from the removal of a line to the end of its commands.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_line_taken_off_the_allow_list_ends_what_its_client_runs_within_a_second() {
    let testbed = Testbed::new();
    let other = Home::new();
    let list = testbed.home.config("allowed_clients");
    let others_line = format!("{} other clamp\n", other.public());
    let allowed = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{allowed}{others_line}")).unwrap();

    let (mark, spared_mark) = (Mark::new(), Mark::new());
    let script = ["sh", "-c", "sleep 300 & sleep 300 & wait"];
    let cut = Running::start(
        testbed.exec_with(&["--env", mark.variable()], script),
        Input::Open,
    );
    let spared = other.exec(
        &testbed.ticket.to_string(),
        ["--env", spared_mark.variable()],
        ["sh", "-c", "read line; echo $line"],
    );
    let mut spared = Running::start(spared, Input::Open);
    mark.await_processes(3);
    spared_mark.await_processes(1);

    fs::write(&list, others_line).unwrap();
    let removed = Instant::now();
    mark.await_gone();
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
    let cut = cut.finish();
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
    cut.assert_failed(255, "key is not allowed: ask the exec-server's owner to add");
    testbed.await_exec_server_says(
        "session of tester ended with 1 call under way: its key was taken off the allow-list",
    );
    run(testbed.exec(["true"])).assert_failed(255, "key is not allowed");

    spared.write(b"spared\n");
    spared.finish().assert_printed("spared\n");
    fs::write(&list, allowed).unwrap();
    run(testbed.exec(["echo", "back"])).assert_printed("back\n");
}

#[test]
fn a_line_taken_off_the_allow_list_ends_a_command_in_its_grace_within_a_second() {
    let testbed = Testbed::new();
    let list = testbed.home.config("allowed_clients");
    let mark = Mark::new();
    let options = ["--env", mark.variable(), "--grace", "10m"];
    let lost = Running::start(testbed.exec_with(&options, ["sleep", "300"]), Input::Open);
    mark.await_processes(1);
    lost.signal(Signal::KILL);
    lost.finish();
    // No session is left, and the command runs on.
    testbed.await_exec_server_says("session of tester ended with 1 call under way");
    std::thread::sleep(SOON);
    assert_eq!(mark.processes().len(), 1);

    fs::write(&list, format!("{} other clamp\n", Home::new().public())).unwrap();
    let removed = Instant::now();
    mark.await_gone();
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
}

#[test]
fn a_line_taken_off_the_allow_list_ends_a_command_in_its_kill_grace_within_a_second() {
    let testbed = Testbed::new();
    let list = testbed.home.config("allowed_clients");
    let mark = Mark::new();
    let options = ["--env", mark.variable(), "--timeout", "1s", "--kill-grace", "10m"];
    let script = ["sh", "-c", "trap '' TERM; sleep 300"];
    let timed_out = Running::start(testbed.exec_with(&options, script), Input::Open);
    timed_out
        .finish()
        .assert_failed(124, "did not end before its timeout");
    // No session is left, and the command ignores that it was asked to end.
    std::thread::sleep(SOON);
    assert_eq!(mark.processes().len(), 2);

    fs::write(&list, format!("{} other clamp\n", Home::new().public())).unwrap();
    let removed = Instant::now();
    mark.await_gone();
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
}

#[test]
fn an_allow_list_that_becomes_unusable_is_named_and_not_the_relay() {
    let testbed = Testbed::new();
    let list = testbed.home.config("allowed_clients");
    let allowed = fs::read_to_string(&list).unwrap();
    let mark = Mark::new();
    let script = ["sh", "-c", "read line; echo $line"];
    let mut running = Running::start(
        testbed.exec_with(&["--env", mark.variable()], script),
        Input::Open,
    );
    mark.await_processes(1);

    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    let refused = run(testbed.exec(["true"]));
    refused.assert_failed(
        255,
        "the exec-server's allow-list does not tell whether this key is allowed: ask its owner",
    );
    assert!(!refused.stderr.contains("relay"), "{refused:?}");
    testbed.await_exec_server_says("allowed_clients is not a regular file");
    testbed.await_exec_server_says("no client is accepted until the list is fixed");

    // Open sessions continue until the next rekey.
    running.write(b"still here\n");
    running.finish().assert_printed("still here\n");
    fs::remove_dir(&list).unwrap();
    fs::write(&list, allowed).unwrap();
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
}
