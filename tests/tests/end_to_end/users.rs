//! `exec-server --user`, and `user=` on an allow-list line, with real programs. Most of these tests need root; without it
//! they check nothing, and say so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use baton_support::process::RunningProgram;
use rustix::process::geteuid;

use crate::support::{Finished, Home, Input, Mark, Running, Testbed, run};

/// Documented limit on the time from an edit of the list to its effect.
const SOON: Duration = Duration::from_secs(1);

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("not checked: this test needs root");
    }
    is_root
}

/// A testbed whose exec-server has these options, and whose client knows it as `worker`.
fn testbed(options: &[&str]) -> Testbed {
    let mut testbed = Testbed::new();
    if !options.is_empty() {
        testbed.stop_exec_server();
        let url = format!("http://{}", testbed.relay_address);
        let mut command = testbed.home.baton_exec_server(&url);
        command.args(options).env("SECRET_OF_THE_SERVER", "1");
        testbed.exec_server = RunningProgram::start("exec-server", command).unwrap();
        testbed.await_registration();
    }
    let mut add = testbed.home.baton();
    add.args(["host", "add", "worker", "-"]);
    let ticket = format!("{}\n", testbed.ticket);
    Running::start(add, Input::Bytes(ticket.into()))
        .finish()
        .assert_printed("");
    testbed
}

fn allow_with(testbed: &Testbed, options: &str) {
    let line = format!("{options} {} tester continue\n", testbed.home.public());
    fs::write(testbed.home.config("allowed_clients"), line).unwrap();
}

fn ssh(testbed: &Testbed, words: &[&str]) -> Finished {
    let mut command = testbed.home.baton();
    command.arg("ssh").args(words);
    run(command)
}

/// All files below a directory that are no directories.
fn files(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path().to_str().unwrap().to_owned()),
        }
    }
    found
}

#[test]
fn commands_of_another_user_cannot_read_what_the_exec_server_keeps() {
    if !is_root() {
        return;
    }
    let testbed = testbed(&["--user", "nobody"]);
    run(testbed.exec(["id", "-un"])).assert_printed("nobody\n");
    let home = testbed.home.file("");
    // Also where the directory itself is open: each file protects itself.
    for directory in ["", ".config", ".local", ".local/state"] {
        let directory = home.join(directory);
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let kept = files(&home);
    for name in ["exec_server_key", "client_key", "hosts.toml", ".db"] {
        assert!(kept.iter().any(|file| file.contains(name)), "{name} in {kept:?}");
    }
    let readable = "for file; do cat \"$file\" >/dev/null 2>&1 && echo \"$file\"; done; env | grep -c SECRET";
    let words = ["sh", "-c", readable, "sh"].map(str::to_owned);
    let finished = run(testbed.exec(words.into_iter().chain(kept.clone())));
    let allowed = kept.iter().filter(|file| file.ends_with("allowed_clients"));
    let allowed: String = allowed.map(|file| format!("{file}\n")).collect();
    assert!(
        finished.text() == "0\n" || finished.text() == format!("{allowed}0\n"),
        "{finished:?}"
    );
    let attack = "cat /proc/$PPID/environ /proc/$PPID/mem; kill -STOP $PPID; ls /proc/$PPID/fd";
    let finished = run(testbed.exec(["sh", "-c", attack]));
    assert_eq!(finished.text(), "", "{finished:?}");
    run(testbed.exec(["echo", "alive"])).assert_printed("alive\n");
}

#[test]
fn file_services_are_refused_to_clients_of_another_user() {
    if !is_root() {
        return;
    }
    for (options, line) in [(&["--user", "nobody"][..], ""), (&[], "user=\"nobody\"")] {
        let testbed = testbed(options);
        allow_with(&testbed, line);
        let secret = testbed.home.file("secret");
        fs::write(&secret, "secret").unwrap();
        let mut cp = testbed.home.baton();
        cp.args(["cp", &format!("worker:{}", secret.display())]);
        cp.arg(testbed.home.file("copy"));
        let refused = run(cp);
        assert!(
            refused.code != 0 && !testbed.home.file("copy").exists(),
            "{refused:?}"
        );
        assert!(
            refused
                .stderr
                .contains("commands run as a user that the exec-server's owner has set"),
            "{refused:?}"
        );
        let mut history = testbed.home.baton();
        history.args(["history", "--host", "worker"]);
        assert_eq!(run(history).code, 0, "its own records are its own");
    }
}

#[test]
fn a_user_that_is_asked_for_is_the_one_of_the_command_or_nothing_runs() {
    if !is_root() {
        return;
    }
    let testbed = testbed(&[]);
    let file = testbed.home.file("ran");
    let touch = format!("touch {}", file.display());
    ssh(&testbed, &["root@worker", "id -un"]).assert_printed("root\n");
    ssh(&testbed, &["-l", "nobody", "worker", &touch]).assert_failed(
        255,
        "nobody: the command would run as another user than the one that was asked for",
    );
    allow_with(&testbed, "user=\"nobody\"");
    ssh(&testbed, &["root@worker", &touch]).assert_failed(
        255,
        "root: the command would run as another user than the one that was asked for",
    );
    assert!(!file.exists());
    // The shell of nobody refuses commands; it is not the exec-server that does.
    let asked = ssh(&testbed, &["nobody@worker", "true"]);
    let plain = ssh(&testbed, &["worker", "true"]);
    assert_eq!((asked.code, asked.text()), (plain.code, plain.text()));
    ssh(&testbed, &["-l", "a b", "worker", "true"])
        .assert_failed(255, "the name of the user is empty, or has");
}

#[test]
fn a_user_that_cannot_be_used_is_told_at_the_start_and_in_the_log() {
    let home = Home::new();
    let mut command = home.baton_exec_server("http://127.0.0.1:9");
    command.args(["--user", "no-such-user-of-baton"]);
    run(command).assert_failed(
        255,
        "cannot run commands as the user no-such-user-of-baton (--user): the exec-server's machine has no such user",
    );
    let testbed = testbed(&[]);
    allow_with(&testbed, "user=\"no-such-user-of-baton\"");
    run(testbed.exec(["true"])).assert_failed(
        255,
        "no command can run as the user that the exec-server's owner has set for this client: the exec-server's machine",
    );
    testbed.await_exec_server_says("a command of tester was not started as the user no-such-user-of-baton: ");
    if !geteuid().is_root() {
        allow_with(&testbed, "user=\"root\"");
        run(testbed.exec(["true"]))
            .assert_failed(255, "runs neither as root nor as this user: start it as root");
    }
}

#[test]
fn commands_of_another_user_end_with_the_line_of_their_client() {
    if !is_root() {
        return;
    }
    let testbed = testbed(&[]);
    allow_with(&testbed, "user=\"nobody\"");
    let mark = Mark::new();
    let script = ["sh", "-c", "trap '' TERM; sleep 300 & sleep 300 & wait"];
    let options = ["--env", mark.variable(), "--grace", "10m"];
    let cut = Running::start(testbed.exec_with(&options, script), Input::Open);
    mark.await_processes(3);
    fs::write(testbed.home.config("allowed_clients"), "").unwrap();
    let removed = Instant::now();
    mark.await_gone();
    assert!(removed.elapsed() < SOON, "{:?}", removed.elapsed());
    cut.finish().assert_failed(255, "key is not allowed");
}
