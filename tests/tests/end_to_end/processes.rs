//! `baton ps` and `baton kill`: the commands of a client's key that run.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Finished, Home, Input, Mark, Running, Testbed, poll, run};

/// `baton WORDS…` as the client of this home.
fn baton(home: &Home, testbed: &Testbed, words: &[&str]) -> Command {
    let mut baton = home.baton();
    baton.args(words).env("BATON_TICKET", testbed.ticket.to_string());
    baton
}

/// The commands of this home's key.
fn ps(home: &Home, testbed: &Testbed) -> Vec<Value> {
    let finished = run(baton(home, testbed, &["ps", "--json"]));
    assert_eq!((finished.code, &*finished.stderr), (0, ""), "{finished:?}");
    let lines = finished.text().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kill(testbed: &Testbed, words: &[&str]) -> Finished {
    run(baton(&testbed.home, testbed, &[&["kill"], words].concat()))
}

/// Starts a command that never ends by itself, and waits until it runs.
fn endless(testbed: &Testbed, mark: &Mark, options: &[&str], command: &[&str]) -> Running {
    let options = [&["--env", mark.variable()], options].concat();
    let running = Running::start(testbed.exec_with(&options, command), Input::Open);
    mark.await_processes(1);
    running
}

fn id(process: &Value) -> &str {
    process["id"].as_str().unwrap()
}

#[test]
fn a_running_command_is_listed_and_killed_by_the_beginning_of_its_id() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let client = endless(&testbed, &mark, &["--thread", "chat"], &["sleep", "1000"]);
    let [process] = &ps(&testbed.home, &testbed)[..] else {
        panic!("not one")
    };
    let shown = ["state", "thread"].map(|key| process[key].as_str().unwrap());
    assert_eq!(shown, ["running", "chat"]);
    assert_eq!(process["argv"], serde_json::json!(["sleep", "1000"]));
    assert_eq!(process["pid"].as_i64(), Some(mark.processes()[0].into()));
    let table = run(baton(&testbed.home, &testbed, &["ps"]));
    assert!(
        table.text().contains("running  chat    sleep 1000\n"),
        "{table:?}"
    );

    kill(&testbed, &[&id(process)[..8]]).assert_printed("");
    let finished = client.finish();
    assert_eq!((finished.code, finished.signal), (143, None), "{finished:?}");
    assert!(ps(&testbed.home, &testbed).is_empty());
    let table = run(baton(&testbed.home, &testbed, &["ps"]));
    assert!(
        table.stderr.contains("no command of this client's key runs"),
        "{table:?}"
    );
    kill(&testbed, &[id(process)]).assert_failed(255, "or it has ended; `baton ps` lists those that run");
}

#[test]
fn any_signal_is_sent_by_name_and_sigkill_is_immediate() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let script = "trap 'exit 9' USR2; trap '' TERM; while :; do read -r line; done";
    let client = endless(&testbed, &mark, &[], &["sh", "-c", script]);
    // The traps are set soon after its start.
    poll("it ignores SIGTERM", || {
        let pid = mark.processes()[0];
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
        (ignored >> 14 & 1 == 1).then_some(())
    });
    let processes = ps(&testbed.home, &testbed);
    kill(&testbed, &[id(&processes[0])]).assert_printed("");
    kill(&testbed, &["-s", "sigusr2", id(&processes[0])]).assert_printed("");
    assert_eq!(client.finish().code, 9);

    let command = ["sh", "-c", "trap '' TERM INT; read -r line"];
    let client = endless(&testbed, &mark, &["--kill-grace", "10m"], &command);
    let processes = ps(&testbed.home, &testbed);
    let begun = Instant::now();
    kill(&testbed, &["-s", "KILL", id(&processes[0])]).assert_printed("");
    assert_eq!(client.finish().code, 137);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    for word in ["9", "RTMIN", ""] {
        let refused = kill(&testbed, &["-s", word, "019a"]);
        refused.assert_failed(2, "expected the name of a POSIX signal");
    }
    kill(&testbed, &[""]).assert_failed(2, "expected an id of `baton ps`");
}

#[test]
fn a_beginning_that_several_ids_have_is_refused_and_lists_them() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let one = endless(&testbed, &mark, &["--grace", "0s"], &["sleep", "1001"]);
    let options = ["--grace", "0s", "--env", mark.variable()];
    let other = Running::start(testbed.exec_with(&options, ["sleep", "1002"]), Input::Open);
    mark.await_processes(2);
    // Their ids begin with the time.
    let refused = kill(&testbed, &["0"]);
    assert_eq!(refused.code, 255, "{refused:?}");
    for text in ["matches several", "sleep 1001", "sleep 1002"] {
        assert!(refused.stderr.contains(text), "{refused:?}");
    }
    assert_eq!(mark.processes().len(), 2);
    drop((one, other));
    mark.await_gone();
}

#[test]
fn another_key_neither_lists_a_command_nor_signals_it() {
    let testbed = Testbed::new();
    let other = Home::new();
    let list = testbed.home.config("allowed_clients");
    let allowed = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, format!("{allowed}{} other clamp\n", other.public())).unwrap();
    let mark = Mark::new();
    let client = endless(&testbed, &mark, &[], &["sleep", "1000"]);
    let processes = ps(&testbed.home, &testbed);
    assert!(ps(&other, &testbed).is_empty());
    for words in [
        &["kill", "-s", "KILL", id(&processes[0])][..],
        &["kill", "-s", "KILL", &id(&processes[0])[..20]],
    ] {
        run(baton(&other, &testbed, words)).assert_failed(255, "no command of this client's key has this id");
    }
    assert_eq!(mark.processes().len(), 1);
    client.signal(Signal::INT);
    client.finish();
    mark.await_gone();
}

#[test]
fn a_command_without_its_client_is_listed_as_detached_and_one_that_is_ended_as_ending() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let lost = endless(&testbed, &mark, &["--grace", "10m"], &["sleep", "1000"]);
    lost.signal(Signal::KILL);
    lost.finish();
    let state = |expected: &str| {
        poll(expected, || {
            let processes = ps(&testbed.home, &testbed);
            (processes[0]["state"] == expected).then(|| id(&processes[0]).to_owned())
        })
    };
    let detached = state("detached");
    kill(&testbed, &[&detached]).assert_printed("");
    mark.await_gone();

    let options = ["--kill-grace", "10m"];
    let script = "trap '' INT TERM; sleep 1000 & wait; sleep 1000";
    let options = [&["--env", mark.variable()], &options[..]].concat();
    let client = Running::start(testbed.exec_with(&options, ["sh", "-c", script]), Input::Open);
    mark.await_processes(2);
    client.signal(Signal::INT);
    let ending = state("ending");
    kill(&testbed, &["-s", "KILL", &ending]).assert_printed("");
    client.finish().assert_failed(130, "baton: interrupted");
    mark.await_gone();
}
