//! Options of an allow-list line, with real programs: a forced command, the time at which a key expires, and an option
//! that is not understood.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use baton_core_client::{
    Client, Command, FilePart, FilePlace, FilesError, FilesFailure, PingedSession, WriteOptions,
};

use crate::support::{Home, Input, Mark, Running, Testbed, run};

/// Documented limit on the time from an edit of the list, or from the time that an option names, to its effect.
const SOON: Duration = Duration::from_secs(1);

/// Replaces the list of a testbed by the line of its client with these options.
fn allow_with(testbed: &Testbed, options: &str) {
    let line = format!("{options} {} tester continue\n", testbed.home.public());
    fs::write(testbed.home.config("allowed_clients"), line).unwrap();
}

/// Prints what the command is told, where it is, a variable of the client, and its input.
const FORCED: &str =
    r#"command="echo forced; echo \"$BATON_ORIGINAL_COMMAND\"; pwd; echo \"${X-unset}\"; cat""#;

#[test]
fn a_forced_command_runs_in_place_of_the_requested_one_and_is_told_that_one() {
    let testbed = Testbed::new();
    allow_with(&testbed, FORCED);
    let home = fs::canonicalize(testbed.home.file("")).unwrap();
    let options = ["--env", "X=1", "--cwd", "/usr", "--env-policy", "clean"];
    let asked = testbed.exec_with(&options, ["sh", "-c", "echo asked >&2; exit 7"]);
    let ran = Running::start(asked, Input::Bytes(b"the client's input\n".into())).finish();
    ran.assert_printed(&format!(
        "forced\nsh -c 'echo asked >&2; exit 7'\n{}\nunset\nthe client's input\n",
        home.display()
    ));
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_client_with_a_forced_command_may_call_nothing_else() {
    let testbed = Testbed::new();
    allow_with(&testbed, "command=\"true\"");
    let refusal = "this client's key may only run the command that the exec-server's allow-list has for it";
    for words in [&["history"][..], &["threads"], &["flush"]] {
        let mut baton = testbed.home.baton();
        baton.args(words).env("BATON_TICKET", testbed.ticket.to_string());
        run(baton).assert_failed(255, refusal);
    }
    let file = testbed.home.file("file");
    fs::write(&file, "kept").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = testbed.client();
        let files = client.files();
        let place = || FilePlace::from(&file);
        let refused = [
            files.stat(&file, true).await.map(drop),
            files.find_up("/", ["etc"]).await.map(drop),
            files.list("/").await.map(drop),
            files.read(place(), FilePart::default()).await.map(drop),
            files.hash(place(), None).await.map(drop),
            files
                .write(place(), WriteOptions::default(), "new")
                .await
                .map(drop),
            files.mkdir(testbed.home.file("new"), None).await.map(drop),
        ];
        for refused in refused {
            let Err(FilesError::Failed { failure, message }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(failure, FilesFailure::Restricted);
            assert!(message.starts_with(refusal), "{message}");
        }
        // A session can be kept warm.
        assert_eq!(client.ping().await.unwrap(), PingedSession::Kept);
        client.close().await;
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    assert!(!testbed.home.file("new").exists());
}

#[test]
fn a_key_that_gains_a_forced_command_is_restricted_in_its_open_session_within_a_second() {
    let testbed = Testbed::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let output = async |client: &Client| {
        let output = client.run(Command::new("echo").arg("asked")).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    runtime.block_on(async {
        let client = testbed.client();
        assert_eq!(output(&client).await, "asked\n");
        assert!(client.files().stat("/", true).await.is_ok());
        for (options, expected) in [("command=\"echo forced\"", "forced\n"), ("", "asked\n")] {
            allow_with(&testbed, options);
            let edited = Instant::now();
            while output(&client).await != expected {
                assert!(edited.elapsed() < SOON, "{options}");
            }
            assert_eq!(client.files().stat("/", true).await.is_ok(), options.is_empty());
        }
        assert_eq!(
            client.ping().await.unwrap(),
            PingedSession::Kept,
            "the same session"
        );
        client.close().await;
    });
}

#[test]
fn a_key_that_expires_loses_its_session_and_its_processes_within_a_second() {
    let testbed = Testbed::new();
    let mark = Mark::new();
    let script = ["sh", "-c", "sleep 300 & sleep 300 & wait"];
    let options = ["--env", mark.variable(), "--grace", "10m"];
    let cut = Running::start(testbed.exec_with(&options, script), Input::Open);
    mark.await_processes(3);

    let expires = SystemTime::now() + Duration::from_secs(2);
    let option = humantime::format_rfc3339_millis(expires);
    allow_with(&testbed, &format!("expires=\"{option}\""));
    mark.await_gone();
    let since = SystemTime::now().duration_since(expires).unwrap();
    assert!(since < SOON, "{since:?}");
    cut.finish().assert_failed(255, "key is not allowed");
    testbed.await_exec_server_says(
        "session of tester ended with 1 call under way: its key has expired on the allow-list",
    );

    run(testbed.exec(["true"])).assert_failed(255, "key is not allowed");
    testbed.await_exec_server_says(
        "refused tester, whose line has expired: to allow it again, change `expires`",
    );
    // The line that the client prints would allow it without its options, so the exec-server does not suggest one.
    assert!(!testbed.exec_server.stderr().contains("NAME clamp"));
    allow_with(&testbed, "expires=\"99991231Z\"");
    run(testbed.exec(["echo", "back"])).assert_printed("back\n");
}

#[test]
fn an_option_that_is_not_understood_refuses_its_own_client_and_is_named() {
    let testbed = Testbed::new();
    let other = Home::new();
    let lines = format!(
        "{0} tester\n{1} other\nfrom=\"host\" {0} tester\n",
        testbed.home.public(),
        other.public()
    );
    fs::write(testbed.home.config("allowed_clients"), lines).unwrap();
    run(testbed.exec(["true"])).assert_failed(255, "allow-list does not tell whether this key is allowed");
    testbed.await_exec_server_says("allowed_clients:3: unknown option `from` (the options are");
    let ticket = testbed.ticket.to_string();
    run(other.exec(&ticket, [""; 0], ["echo", "ok"])).assert_printed("ok\n");
}
