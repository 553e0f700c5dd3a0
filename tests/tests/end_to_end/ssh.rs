//! `baton ssh`, by itself and as the ssh of git and rsync.

use std::fs;
use std::path::Path;
use std::process::Command;

use baton_support::process::baton;

use crate::support::{Finished, Input, Running, Testbed, run};

/// A testbed whose client knows the exec-server as `worker`.
fn testbed() -> Testbed {
    let testbed = Testbed::new();
    let mut add = testbed.home.baton();
    add.args(["host", "add", "worker", "-"]);
    let ticket = format!("{}\n", testbed.ticket);
    Running::start(add, Input::Bytes(ticket.into()))
        .finish()
        .assert_printed("");
    testbed
}

fn ssh(testbed: &Testbed, words: &[&str]) -> Command {
    let mut command = testbed.home.baton();
    command.arg("ssh").args(words);
    command
}

/// A program with the client's environment, which calls `baton ssh`.
fn caller(testbed: &Testbed, program: &str) -> Command {
    let mut command = Command::new(program);
    let environment = testbed.home.baton();
    command.env_clear();
    command.envs(
        environment
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_SSH_COMMAND", remote_shell());
    command
}

/// The words by which other programs call `baton ssh`.
fn remote_shell() -> String {
    format!("{} ssh", baton().unwrap().display())
}

#[test]
fn a_line_runs_in_the_login_shell_as_with_ssh() {
    let testbed = testbed();
    let finished = run(ssh(&testbed, &["worker", "echo a b; exit 3"]));
    assert_eq!((finished.code, finished.text()), (3, "a b\n"), "{finished:?}");
    let words = ["-xT", "worker", "-q", "echo", "a   b", "$((1 + 1))", "-n"];
    run(ssh(&testbed, &words)).assert_printed("a b 2 -n\n");
    let cat = ssh(&testbed, &["worker", "cat"]);
    Running::start(cat, Input::Bytes(b"in\0\xff".to_vec()))
        .finish()
        .assert_bytes(b"in\0\xff");
    let without = ssh(&testbed, &["-n", "worker", "cat; echo end"]);
    Running::start(without, Input::Open)
        .finish()
        .assert_printed("end\n");
    run(ssh(&testbed, &["-G", "worker"])).assert_printed("host worker\nhostname worker\n");
}

impl Finished {
    #[track_caller]
    fn assert_bytes(&self, stdout: &[u8]) {
        assert_eq!((self.code, &self.stdout[..]), (0, stdout), "{self:?}");
    }
}

#[test]
fn only_the_variables_that_are_asked_for_are_passed() {
    let testbed = testbed();
    for (option, expected) in [("SendEnv=BATON_T*", "yes\n"), ("SendEnv=OTHER", "\n")] {
        let mut command = ssh(&testbed, &["-o", option, "worker", "echo $BATON_TESTED"]);
        command.env("BATON_TESTED", "yes");
        run(command).assert_printed(expected);
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_runs() {
    let testbed = testbed();
    for (words, sentence) in [
        (
            &["-l", "no-such-user", "worker", "id"][..],
            "no-such-user: the command would run as another user",
        ),
        (
            &["no-such-user@worker", "id"],
            "no-such-user: the command would run as another user",
        ),
        (
            &["-o", "ProxyCommand=sh", "worker", "id"],
            "no option `-o ProxyCommand=sh`",
        ),
        (&["-4", "worker", "id"], "no option `-4`"),
        (&["--", "-worker", "id"], "`-worker` is no name of a host"),
        (&["stranger", "id"], "no host stranger"),
        (&[], "no host: "),
    ] {
        run(ssh(&testbed, words)).assert_failed(255, sentence);
    }
}

#[test]
fn git_clones_and_pushes_over_it() {
    let testbed = testbed();
    let (far, near) = (testbed.home.file("far dir"), testbed.home.file("near"));
    fs::create_dir(&far).unwrap();
    let git = |dir: &Path, words: &[&str]| {
        let mut command = caller(&testbed, "git");
        command
            .current_dir(dir)
            .args(["-c", "user.name=t", "-c", "user.email=t@localhost"]);
        command.args(words);
        let finished = run(command);
        assert_eq!(finished.code, 0, "{words:?}: {finished:?}");
        finished
    };
    git(&far, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(far.join("file"), "text").unwrap();
    git(&far, &["add", "file"]);
    git(&far, &["commit", "--quiet", "--message=first"]);
    let url = format!("worker:{}", far.display());
    git(&testbed.home.file(""), &["clone", "--quiet", &url, "near"]);
    assert_eq!(fs::read_to_string(near.join("file")).unwrap(), "text");
    git(&near, &["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    let pushed = git(&far, &["rev-parse", "other"]);
    assert_eq!(pushed.text(), git(&near, &["rev-parse", "HEAD"]).text());
}

#[test]
fn rsync_copies_a_tree_over_it() {
    if Command::new("rsync").arg("--version").output().is_err() {
        eprintln!("skipped: rsync is not installed");
        return;
    }
    let testbed = testbed();
    let (from, to) = (testbed.home.file("from"), testbed.home.file("to"));
    fs::create_dir_all(from.join("below")).unwrap();
    fs::write(from.join("below/file"), vec![7; 300_000]).unwrap();
    let shell = remote_shell();
    let mut rsync = caller(&testbed, "rsync");
    rsync.args(["-a", "-e", &shell]);
    rsync.arg(format!("{}/", from.display()));
    rsync.arg(format!("worker:{}/", to.display()));
    run(rsync).assert_printed("");
    assert_eq!(fs::read(to.join("below/file")).unwrap(), vec![7; 300_000]);
    let back = testbed.home.file("back");
    let mut rsync = caller(&testbed, "rsync");
    rsync.args(["-a", "-e", &shell]);
    rsync.arg(format!("worker:{}/", to.display())).arg(&back);
    run(rsync).assert_printed("");
    assert_eq!(fs::read(back.join("below/file")).unwrap(), vec![7; 300_000]);
}
