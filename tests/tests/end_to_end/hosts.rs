//! `baton host`, and `--host` in place of a ticket.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Finished, Input, Running, Testbed, run};

fn baton(testbed: &Testbed, words: &[&str], input: &str) -> Finished {
    let mut command = testbed.home.baton();
    command.args(words);
    Running::start(command, Input::Bytes(input.into())).finish()
}

#[test]
fn a_named_exec_server_takes_commands_and_every_other_command_by_its_name() {
    let testbed = Testbed::new();
    let ticket = testbed.ticket.to_string();
    let added = baton(
        &testbed,
        &["host", "add", "worker", "-"],
        &format!("ticket: {ticket}\n"),
    );
    added.assert_printed("");
    assert!(
        added.stderr.contains("baton exec --host worker"),
        "{}",
        added.stderr
    );

    baton(&testbed, &["exec", "--host", "worker", "--", "echo", "ok"], "").assert_printed("ok\n");
    baton(&testbed, &["exec", "--host=worker", "--", "cat"], "in").assert_printed("in");
    baton(&testbed, &["health", "--host", "worker"], "").assert_printed("");
    let history = baton(&testbed, &["history", "--host", "worker"], "");
    assert!(
        history.code == 0 && history.text().contains("echo"),
        "{history:?}"
    );

    let list = baton(&testbed, &["host", "list"], "");
    assert!(
        list.text().contains("worker") && list.text().contains(&testbed.ticket.relay_url),
        "{list:?}"
    );
    let json = baton(&testbed, &["host", "list", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(json["host"], "worker");
    assert_eq!(json["key"], testbed.ticket.noise_key.to_string());
    for text in [list.text().to_owned(), json.to_string()] {
        assert!(!text.contains(&ticket), "the ticket is a secret: {text}");
    }

    let file = testbed.home.config("hosts.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    baton(&testbed, &["exec", "--host", "worker", "--", "true"], "").assert_failed(255, "run `chmod 600 ");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    baton(&testbed, &["host", "remove", "worker"], "").assert_printed("");
    baton(&testbed, &["exec", "--host", "worker", "--", "true"], "").assert_failed(255, "no host worker: ");
    baton(&testbed, &["host", "remove", "worker"], "").assert_failed(255, "no host worker: ");
}

#[test]
fn an_exec_server_with_another_key_takes_no_name_over() {
    let (testbed, other) = (Testbed::new(), Testbed::new());
    let ticket = testbed.ticket.to_string();
    run({
        let mut add = testbed.home.baton();
        add.args(["host", "add", "worker", &ticket]);
        add
    })
    .assert_printed("");
    let taken = baton(
        &testbed,
        &["host", "add", "worker", "-"],
        &other.ticket.to_string(),
    );
    taken.assert_failed(255, "worker is another exec-server (");
    baton(&testbed, &["exec", "--host", "worker", "--", "echo", "still"], "").assert_printed("still\n");
    for words in [
        &["host", "add", "-x", "baton1:x"][..],
        &["host", "add", "a b", "baton1:x"],
        &["exec", "--host", "worker", &ticket, "--", "true"],
        &["exec", "--host", "worker", "--ticket-file", "t", "--", "true"],
        &["health", "--host", "worker", "--relay", "http://r:1"],
    ] {
        assert_eq!(baton(&testbed, words, "").code, 2, "{words:?}");
    }
    run({
        let mut damaged = testbed.home.baton();
        damaged.args(["host", "add", "other", "baton1:x"]);
        damaged
    })
    .assert_failed(255, "the ticket is damaged");
}
