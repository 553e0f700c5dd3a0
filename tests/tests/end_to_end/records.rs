//! Records of commands: history, [threads] and barriers, also when the disk fails or the exec-server is killed.

mod threads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use baton_analyze::record::read_text;
use baton_core_client::{Event, Family, MarkerError};
use baton_metadata::limits::LINGER;
use baton_metadata::store::sqlite::VERSION;
use baton_proto::exec::{RunRequest, Start, run_request};
use baton_rpc::exec::exec_client::ExecClient;
use baton_support::process::RunningProgram;
use baton_trace::family::Unavailable;
use baton_trace::stage::exec::{FAMILY_CLI_READY, FAMILY_SESSION_INIT};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Finished, Home, Input, Mark, PATIENCE, Running, Testbed, poll, run, signal};

/// Runs `baton WORDS…` in the testbed's home, with its ticket.
fn baton(testbed: &Testbed, words: &[&str]) -> Finished {
    run(command(testbed, words))
}

fn command(testbed: &Testbed, words: &[&str]) -> Command {
    let mut baton = testbed.home.baton();
    baton.args(words).env("BATON_TICKET", testbed.ticket.to_string());
    baton
}

/// `baton history --json OPTIONS`.
#[track_caller]
fn history(testbed: &Testbed, options: &[&str]) -> Vec<Value> {
    let finished = baton(testbed, &[&["history", "--json"], options].concat());
    assert_eq!((finished.code, &*finished.stderr), (0, ""), "{finished:?}");
    let lines = finished.text().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn words(record: &Value) -> Vec<&str> {
    let argv = record["argv"].as_array().unwrap();
    argv.iter().map(|argument| argument.as_str().unwrap()).collect()
}

/// The default state directory of the home's exec-server.
fn state(home: &Home) -> PathBuf {
    let all = home.file(".local/state/baton");
    let entry = fs::read_dir(all).unwrap().next().unwrap();
    entry.unwrap().path()
}

/// Kills the exec-server with SIGKILL and starts it again.
fn crash(testbed: &mut Testbed, options: &[&str]) {
    signal(&testbed.exec_server, Signal::KILL);
    testbed.exec_server.wait(PATIENCE).unwrap();
    restart(testbed, options);
}

fn restart(testbed: &mut Testbed, options: &[&str]) {
    let mut exec_server = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    exec_server.args(options);
    testbed.exec_server = RunningProgram::start("exec-server", exec_server).unwrap();
    testbed.await_registration();
}

/// Holds the database's lock until it is dropped, so that nothing can be written.
struct Held(Connection);

impl Held {
    fn new(state: &Path) -> Self {
        let connection = Connection::open(state.join("baton.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.execute_batch("begin immediate").unwrap();
        Self(connection)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.execute_batch("rollback").unwrap();
    }
}

#[test]
fn a_family_is_timed_in_the_trace_file_and_on_record() {
    let testbed = Testbed::new();
    let file = testbed.home.file("trace.json");
    let options = [
        "--family",
        "jsonl",
        "--trace",
        "--trace-json",
        file.to_str().unwrap(),
    ];
    let script = "echo log; echo '{}'; sleep 0.1; echo rest";
    let ran = run(testbed.exec_with(&options, ["sh", "-c", script]));
    ran.assert_printed("log\n{}\nrest\n");
    let unavailable = "
 family.session_init unavailable: not_reported
 family.first_output unavailable: no_session_init
";
    for part in ["  family.cli_ready ", "\n family jsonl, remainder ", unavailable] {
        assert!(ran.stderr.contains(part), "{part:?} in\n{}", ran.stderr);
    }
    let (mut calls, _) = read_text(&fs::read(&file).unwrap()).unwrap();
    let trace = calls.remove(0);
    let stages: Vec<_> = trace.stages.iter().map(|stage| stage.stage).collect();
    assert!(stages.contains(&FAMILY_CLI_READY) && !stages.contains(&FAMILY_SESSION_INIT));
    let family = trace.command.unwrap().family.unwrap();

    let record = &history(&testbed, &[])[0];
    assert_eq!(record["family"], "jsonl");
    let reasons = serde_json::json!({
        "family.session_init": "not_reported",
        "family.first_output": "no_session_init",
    });
    assert_eq!(record["unavailable"], reasons);
    let remainder_ns = record["family_remainder_ns"].as_u64().unwrap();
    let traced = (
        family.family.name(),
        family.unavailable.map(|reason| reason.map(Unavailable::name)),
        family.remainder_ns,
    );
    let expected = [None, Some("not_reported"), Some("no_session_init")];
    assert_eq!(traced, ("jsonl", expected, remainder_ns));
    assert!(
        remainder_ns >= 50_000_000,
        "to the output after ready: {remainder_ns}"
    );

    let id = record["id"].as_str().unwrap();
    let json: Value = serde_json::from_str(baton(&testbed, &["show", "--json", id]).text()).unwrap();
    assert_eq!(
        (&json["family"], &json["unavailable"]),
        (&record["family"], &reasons)
    );
    let shown = baton(&testbed, &["show", id]);
    for line in [
        "family    jsonl, ",
        "          family.cli_ready ",
        "          family.session_init unavailable: not_reported\n",
        "          family.first_output unavailable: no_session_init\n",
    ] {
        assert!(shown.text().contains(line), "{line:?} in\n{}", shown.text());
    }

    run(testbed.exec(["true"]));
    let record = &history(&testbed, &[])[0];
    assert_eq!(
        [
            &record["family"],
            &record["unavailable"],
            &record["family_remainder_ns"]
        ],
        [&Value::Null; 3]
    );

    let refused = run(testbed.exec_with(&["--family", "yaml"], ["true"]));
    assert!(
        refused.code != 0 && refused.stderr.contains("event_stream"),
        "{refused:?}"
    );
}

#[test]
fn a_caller_reports_session_init() {
    let testbed = Testbed::new();
    let client = testbed.client();
    let script = "echo '{}'; read line; echo answer; read line";
    let command = || baton_core_client::Command::new("sh").args(["-c", script]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (mut started, mut stdin) = client.start(command().family(Family::JsonLines)).await.unwrap();
        wait_for_output(&mut started, b"{}\n").await;
        stdin.session_init_reached().await.unwrap();
        stdin.write("\n".into()).await.unwrap();
        wait_for_output(&mut started, b"answer\n").await;
        started.session_init_reached().await.unwrap();
        stdin.close().await.unwrap();
        while started.next().await.unwrap().is_some() {}

        let (started, stdin) = client.start(command()).await.unwrap();
        assert_eq!(stdin.session_init_reached().await, Err(MarkerError::NoFamily));
        assert_eq!(started.session_init_reached().await, Err(MarkerError::NoFamily));
        drop((started, stdin));
        client.close().await;
    });
    let all = history(&testbed, &[]);
    assert_eq!(all[1]["unavailable"], serde_json::json!({}));
    assert_eq!(all[1]["family_remainder_ns"], 0);
}

async fn wait_for_output(run: &mut baton_core_client::Run, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        if let Event::Stdout(data) = run.next().await.unwrap().expect("the command runs") {
            seen.extend_from_slice(&data);
        }
    }
}

#[test]
fn history_has_each_command_with_its_outcome_and_its_times() {
    let testbed = Testbed::new();
    run(testbed.exec(["echo", "ok"]));
    run(testbed.exec(["sh", "-c", "exit 3"]));
    run(testbed.exec(["sh", "-c", "kill -9 $$"]));
    run(testbed.exec(["/no/such/program"]));
    let all = history(&testbed, &[]);
    let outcomes: Vec<_> = all
        .iter()
        .map(|record| (words(record)[0], record["outcome"].as_str().unwrap()))
        .collect();
    let expected = [
        ("/no/such/program", "failed_to_start"),
        ("sh", "signaled"),
        ("sh", "exited"),
        ("echo", "exited"),
    ];
    assert_eq!(outcomes, expected, "the newest first");
    assert_eq!(all[2]["exit_code"], 3);
    assert_eq!(all[1]["signal"], 9);
    assert!(
        all[0]["message"]
            .as_str()
            .unwrap()
            .starts_with("command not found")
    );
    let echo = &all[3];
    assert_eq!((&echo["stdout_bytes"], &echo["last_seq"]), (&3.into(), &4.into()));
    assert!(echo["duration_ns"].as_u64().unwrap() > 0);
    assert_eq!(echo["trace_id"].as_str().unwrap().len(), 32);
    assert!(echo["slowest_stage"].as_str().unwrap().starts_with("process."));

    let failed = history(&testbed, &["--failed", "--since", "1h"]);
    assert_eq!(failed.len(), 3);
    let signaled = history(&testbed, &["--outcome", "signaled"]);
    assert_eq!((signaled.len(), &signaled[0]["id"]), (1, &all[1]["id"]));
    assert_eq!(
        history(&testbed, &["--outcome", "exited,failed_to_start"]).len(),
        3
    );
    assert_eq!(history(&testbed, &["--outcome", "exited", "--failed"]).len(), 1);
    baton(&testbed, &["history", "--outcome", "fine"]).assert_failed(2, "timed_out");
    assert_eq!(history(&testbed, &["-n", "1"]).len(), 1);
    assert!(history(&testbed, &["--since", "0s"]).is_empty());

    let table = baton(&testbed, &["history"]);
    assert!(table.text().starts_with("ID "), "{table:?}");
    assert!(
        table.text().contains(" exited 3 ") && table.text().contains("echo ok\n"),
        "{table:?}"
    );
}

#[test]
fn a_history_is_analyzed_and_gated_without_what_the_client_measures() {
    let testbed = Testbed::new();
    for turn in ["1", "2", "2"] {
        let options = ["--thread", "t", "--turn", turn];
        run(testbed.exec_with(&options, ["sleep", "0.05"])).assert_printed("");
    }
    let analyzed = baton(&testbed, &["analyze", "--history", "--by", "turn", "--json"]);
    assert_eq!(analyzed.code, 0, "{analyzed:?}");
    let json: Value = serde_json::from_str(analyzed.text()).unwrap();
    assert_eq!(json["computed_from"]["input"]["history"]["records"], 3, "{json}");
    assert_eq!(json["calls"], 3, "{json}");
    let wait = &json["stages"]["process.wait"];
    assert!(wait["n"] == 3 && wait["p50"].as_f64().unwrap() >= 40e6, "{json}");
    for unavailable in [&json["stages"]["transit"], &json["remainder"], &json["envelope"]] {
        assert_eq!(unavailable, "unavailable", "{json}");
    }
    let reason = json["unavailable"]["transit"].as_str().unwrap();
    assert!(reason.contains("no stage of the client"), "{json}");
    assert_eq!(json["groups"]["2"]["calls"], 2, "{json}");
    let text = baton(&testbed, &["analyze", "--history"]);
    assert!(
        text.text().contains("from the history of exec-server "),
        "{text:?}"
    );
    assert!(text.text().contains("\ntransit "), "{text:?}");

    let rules = testbed.home.file("rules.toml");
    let gate = |stage: &str| {
        let condition = format!("stage = '{stage}', statistic = 'p50', at_least = '40 ms'");
        let text = format!(
            "[outcomes]\nslow = 7\nfast = 0\nnot_enough_data = 3\n[[rule]]\noutcome = 'slow'\nany = [{{ {condition} \
             }}]\n[otherwise]\noutcome = 'fast'\n"
        );
        fs::write(&rules, text).unwrap();
        let finished = baton(&testbed, &["gate", rules.to_str().unwrap(), "--history"]);
        assert!(finished.stderr.contains("3 records"), "{finished:?}");
        finished.code
    };
    assert_eq!(
        [gate("process.wait"), gate("process.spawn"), gate("transit")],
        [7, 0, 3]
    );
}

#[test]
fn show_draws_the_waterfall_of_a_command_long_after_the_fact() {
    let mut testbed = Testbed::new();
    run(testbed.exec(["echo", "ok"]));
    let record = history(&testbed, &[]).remove(0);
    crash(&mut testbed, &[]);
    let id = record["id"].as_str().unwrap();
    for name in [id, &id[..20], record["trace_id"].as_str().unwrap()] {
        let shown = baton(&testbed, &["show", name]);
        assert_eq!(shown.code, 0, "{shown:?}");
        for line in [
            "command   echo ok",
            "outcome   exited 0",
            " process.spawn ",
            " server.queue ",
            " remainder ",
        ] {
            assert!(shown.text().contains(line), "no {line:?} in {shown:?}");
        }
    }
    let json = baton(&testbed, &["show", "--json", id]);
    let json: Value = serde_json::from_str(json.text()).unwrap();
    let stages: Vec<_> = json["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    for stage in ["server.open", "process", "process.wait", "process.close"] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
    baton(&testbed, &["show", "ffff"]).assert_failed(255, "no record of yours");
}

#[test]
fn another_key_sees_nothing_of_it() {
    let testbed = Testbed::new();
    run(testbed.exec_with(&["--thread", "secret"], ["echo", "mine"]));
    let id = history(&testbed, &[])[0]["id"].as_str().unwrap().to_owned();
    let other = Home::new();
    let lines = [&testbed.home, &other].map(|home| format!("{} tester continue\n", home.public()));
    fs::write(testbed.home.config("allowed_clients"), lines.concat()).unwrap();
    let query = |words: &[&str]| {
        let mut baton = other.baton();
        baton.args(words).env("BATON_TICKET", testbed.ticket.to_string());
        run(baton)
    };
    assert_eq!(query(&["history", "--json"]).text(), "");
    assert_eq!(query(&["threads", "--json"]).text(), "");
    query(&["show", &id]).assert_failed(255, "no record of yours");
    query(&["thread", "show", "secret"]).assert_failed(255, "you have no thread of this id");
    query(&["thread", "delete", "secret"]).assert_failed(255, "you have no thread of this id");
    assert_eq!(history(&testbed, &["--thread", "secret"]).len(), 1);
}

#[test]
fn flushed_records_survive_sigkill_and_running_commands_are_lost() {
    let mut testbed = Testbed::new();
    for _ in 0..3 {
        run(testbed.exec(["true"]));
    }
    let mark = Mark::new();
    // Prints and then continues without output. It holds no pipe, whose closing would kill it.
    let printing = "echo up; exec >/dev/null 2>&1; sleep 300";
    let exec = testbed.exec_with(&["--env", mark.variable()], ["sh", "-c", printing]);
    let running = Running::start(exec, Input::Open);
    poll("it runs and its progress is in the history", || {
        let all = history(&testbed, &["-n", "1"]);
        (all[0]["outcome"] == "running" && all[0]["last_seq"].as_u64()? > 1).then_some(())
    });
    assert!(!mark.processes().is_empty());
    baton(&testbed, &["flush"]).assert_printed("");
    crash(&mut testbed, &[]);
    running.finish().assert_failed_whatever(255);
    mark.await_gone();
    let all = history(&testbed, &[]);
    assert_eq!(all.len(), 4, "all that the barrier covered");
    let lost = &all[0];
    assert_eq!(
        (&lost["outcome"], &lost["survivor"]),
        (&"lost".into(), &"killed".into())
    );
    assert_eq!(lost["last_seq"], 2, "{lost}");
    assert!(all[1..].iter().all(|record| record["outcome"] == "exited"));
    testbed.await_exec_server_says(
        "before 1 of its commands, which counts as lost; 1 was still running and killed",
    );
}

#[test]
fn while_nothing_can_be_written_commands_run_as_before_and_the_barrier_says_why() {
    let testbed = Testbed::new();
    run(testbed.exec(["true"]));
    baton(&testbed, &["flush"]).assert_printed("");
    let held = Held::new(&state(&testbed.home));
    let began = Instant::now();
    for _ in 0..5 {
        run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    baton(&testbed, &["flush"]).assert_failed(255, "another process holds the database");
    baton(&testbed, &["thread", "archive", "t"])
        .assert_failed(255, "baton: not written yet: another process holds");
    baton(&testbed, &["thread", "set", "t", "--title", "T"])
        .assert_failed(255, "the exec-server tries again");
    testbed.await_exec_server_says("records cannot be written at the moment");
    testbed.await_exec_server_says("another process holds the database");
    let behind = baton(&testbed, &["history", "--json"]);
    assert_eq!(behind.text().lines().count(), 1, "what is on disk: {behind:?}");
    assert!(
        behind.stderr.contains("the newest records may be missing"),
        "{behind:?}"
    );
    drop(held);
    baton(&testbed, &["flush"]).assert_printed("");
    assert_eq!(history(&testbed, &[]).len(), 6, "nothing was lost");
}

#[test]
fn with_durability_start_a_start_waits_for_the_disk_and_nothing_else_does() {
    let mut testbed = Testbed::new();
    testbed.stop_exec_server();
    restart(&mut testbed, &["--durability", "start"]);
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    let going = Running::start(
        testbed.exec(["sh", "-c", "read line; echo got $line"]),
        Input::Open,
    );
    poll("it runs, concurrently with the previous one", || {
        let records = history(&testbed, &[]);
        (records.len() == 2).then(|| records[0]["spawned_unix_ns"].as_u64())?
    });
    let held = Held::new(&state(&testbed.home));
    let mut going = going;
    going.write(b"a line\n");
    going.finish().assert_printed("got a line\n");
    let canary = testbed.home.file("canary");
    run(testbed.exec(["touch", canary.to_str().unwrap()]))
        .assert_failed(255, "could not be made durable in time");
    assert!(!canary.exists());
    drop(held);
    run(testbed.exec(["touch", canary.to_str().unwrap()])).assert_printed("");
    assert!(canary.exists());
}

#[test]
fn a_second_exec_server_on_one_state_is_refused_with_the_pid_of_the_first() {
    let testbed = Testbed::new();
    let mut second = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    let used = state(&testbed.home);
    second
        .args([
            "--key",
            testbed.home.file("other_key").to_str().unwrap(),
            "--state",
        ])
        .arg(&used);
    let refused = run(second);
    refused.assert_failed(255, &format!("(pid {})", testbed.exec_server.pid()));
    assert!(
        refused.stderr.contains("is in use by exec-server "),
        "{refused:?}"
    );
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
}

#[test]
fn without_a_state_records_are_in_memory_and_end_with_the_server() {
    let mut testbed = Testbed::new();
    testbed.stop_exec_server();
    fs::remove_dir_all(testbed.home.file(".local/state")).unwrap();
    restart(&mut testbed, &["--state", "none"]);
    run(testbed.exec_with(&["--thread", "t"], ["echo", "ok"])).assert_printed("ok\n");
    run(testbed.exec(["false"]));
    let all = history(&testbed, &[]);
    assert_eq!(
        all.iter().map(words).collect::<Vec<_>>(),
        [vec!["false"], vec!["echo", "ok"]]
    );
    assert_eq!(history(&testbed, &["--failed"]).len(), 1);
    let id = all[1]["id"].as_str().unwrap();
    let shown = baton(&testbed, &["show", id]);
    assert!(
        shown.code == 0 && shown.text().contains("process.spawn"),
        "{shown:?}"
    );
    assert!(baton(&testbed, &["threads"]).text().contains('t'));
    let flushed = baton(&testbed, &["flush"]);
    flushed.assert_printed("");
    assert!(
        flushed.stderr.contains("keeps its records in memory"),
        "{flushed:?}"
    );
    assert!(!testbed.home.file(".local/state").exists());

    testbed.stop_exec_server();
    restart(&mut testbed, &["--state", "none"]);
    assert_eq!(history(&testbed, &[]).len(), 0);
    let mut durable = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    durable.args(["--state", "none", "--durability", "start"]);
    run(durable).assert_failed(255, "--durability start needs a directory for its records");
}

#[test]
fn records_of_a_killed_client_are_written_without_delay() {
    let testbed = Testbed::new();
    let records = Connection::open(state(&testbed.home).join("baton.db")).unwrap();
    let count = |which: &str| -> i64 {
        let count = format!("select count(*) from processes where {which}");
        records.query_row(&count, [], |row| row.get(0)).unwrap()
    };
    // Without a barrier the writer waits for `LINGER` before it writes.
    const TIMES: i64 = 8;
    let mut prompt = 0;
    for killed in 1..=TIMES {
        let mark = Mark::new();
        let began = Instant::now();
        let options = ["--grace", "0s", "--env", mark.variable()];
        let running = Running::start(testbed.exec_with(&options, ["sleep", "300"]), Input::Open);
        poll("it runs", || (!mark.processes().is_empty()).then_some(()));
        // The drop kills the client, which closes no session.
        drop(running);
        poll("it is on record", || (count("true") == killed).then_some(()));
        prompt += i64::from(began.elapsed() < LINGER);
        // Otherwise a pending write of this command would write the record of the next one too.
        poll("its end is on record", || {
            (count("outcome is null") == 0).then_some(())
        });
    }
    assert_eq!(count("outcome = 'killed' and message like 'its client%'"), TIMES);
    // A busy machine may delay most, but not all but one.
    assert!(
        prompt * 4 >= TIMES,
        "{prompt} of {TIMES} were on disk sooner than without the barrier"
    );
}

#[test]
fn a_damaged_database_is_set_aside_and_one_of_a_newer_version_is_left_alone() {
    let mut testbed = Testbed::new();
    run(testbed.exec(["true"]));
    testbed.stop_exec_server();
    let database = state(&testbed.home).join("baton.db");
    let sound = fs::read(&database).unwrap();
    fs::write(
        &database,
        [&sound[..4096], &vec![0xa5; sound.len() - 4096]].concat(),
    )
    .unwrap();
    restart(&mut testbed, &[]);
    testbed.await_exec_server_says("the database was damaged");
    testbed.await_exec_server_says("a new one was begun, and `sqlite3 FILE .recover`");
    assert_eq!(history(&testbed, &[]).len(), 0);
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    baton(&testbed, &["flush"]).assert_printed("");
    assert_eq!(history(&testbed, &[]).len(), 1);

    testbed.stop_exec_server();
    let connection = Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let newer = fs::read(&database).unwrap();
    let exec_server = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    run(exec_server).assert_failed(
        255,
        &format!("has schema 99, and this version knows up to {VERSION}: run the newer baton"),
    );
    assert!(fs::read(&database).unwrap() == newer, "untouched");
}

#[test]
fn dropped_records_are_reported_to_their_client_until_acknowledged() {
    let mut testbed = Testbed::new();
    run(testbed.exec(["true"]));
    testbed.stop_exec_server();
    // The losses that an exec-server stores after a long disk failure.
    let connection = Connection::open(state(&testbed.home).join("baton.db")).unwrap();
    let lost = "insert into losses (owner, records) select owner, 5 from owners";
    assert_eq!(connection.execute(lost, []).unwrap(), 1);
    drop(connection);
    restart(&mut testbed, &[]);
    for _ in 0..2 {
        baton(&testbed, &["flush"]).assert_failed(255, "5 records were dropped");
    }
    baton(&testbed, &["flush", "--acknowledge", "2"]).assert_failed(255, "3 records were dropped");
    // Losses that are not acknowledged persist across a restart; acknowledged ones do not return.
    testbed.stop_exec_server();
    restart(&mut testbed, &[]);
    baton(&testbed, &["flush"]).assert_failed(255, "`baton flush --acknowledge 3` acknowledges");
    baton(&testbed, &["flush", "--acknowledge", "3"]).assert_printed("");
    // The acknowledgement is written after the answer.
    let records = Connection::open(state(&testbed.home).join("baton.db")).unwrap();
    poll("the acknowledgement is on disk", || {
        let left: i64 = records
            .query_row("select count(*) from losses", [], |row| row.get(0))
            .unwrap();
        (left == 0).then_some(())
    });
    drop(records);
    crash(&mut testbed, &[]);
    baton(&testbed, &["flush"]).assert_printed("");
}

#[test]
fn expired_records_are_removed_when_the_exec_server_starts() {
    let mut testbed = Testbed::new();
    run(testbed.exec(["true"]));
    baton(&testbed, &["flush"]).assert_printed("");
    let ended = Instant::now();
    testbed.stop_exec_server();
    let age = Duration::from_secs(1);
    std::thread::sleep((ended + age).saturating_duration_since(Instant::now()));
    restart(&mut testbed, &["--retain", "1s"]);
    poll("it is removed", || {
        history(&testbed, &[]).is_empty().then_some(())
    });
}

#[test]
fn a_shutdown_with_a_locked_database_is_bounded_and_reports_unwritten_records() {
    let mut testbed = Testbed::new();
    run(testbed.exec(["true"]));
    baton(&testbed, &["flush"]).assert_printed("");
    let held = Held::new(&state(&testbed.home));
    run(testbed.exec(["true"]));
    let began = Instant::now();
    testbed.stop_exec_server();
    // It tries to write for three seconds; the rest of the shutdown takes time too.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    testbed.await_exec_server_says("1 record could not be written before the end, and 0 were dropped before");
    drop(held);
    restart(&mut testbed, &[]);
    assert_eq!(history(&testbed, &[]).len(), 1);
}

#[test]
fn a_clean_shutdown_and_a_crash_are_distinguished() {
    let mut testbed = Testbed::new();
    run(testbed.exec(["true"]));
    baton(&testbed, &["flush"]).assert_printed("");
    crash(&mut testbed, &[]);
    run(testbed.exec(["true"]));
    testbed.stop_exec_server();
    restart(&mut testbed, &[]);
    let connection = Connection::open(state(&testbed.home).join("baton.db")).unwrap();
    let mut lives = connection
        .prepare("select ended_ns >= begun_ns from lives order by life")
        .unwrap();
    let ended: Vec<Option<bool>> = lives
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ended, [None, Some(true), None], "killed, ended, running");
    // The clean shutdown wrote all records without a flush.
    assert_eq!(history(&testbed, &[]).len(), 2);
}

#[test]
fn a_command_whose_deadline_passes_is_on_record_as_timed_out() {
    let testbed = Testbed::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The client is kept until the end is on record: its last handle closes the session, possibly before the reset that
    // reports the deadline is sent.
    let _client = runtime.block_on(async {
        let key = testbed.home.seed().client_key().unwrap();
        let channel = baton_channel::Channel::new(testbed.ticket.clone(), key);
        let epoch = channel.connect().await.unwrap();
        let start = Start {
            process_id: vec![7; 16].into(),
            epoch: epoch.0.to_vec().into(),
            argv: vec!["sleep".into(), "300".into()],
            ..Start::default()
        };
        let first = RunRequest {
            kind: Some(run_request::Kind::Start(start)),
        };
        let mut request = tonic::Request::new(tokio_stream::iter([first]));
        request.set_timeout(Duration::from_millis(500));
        let mut client = ExecClient::new(channel);
        let mut events = client.run(request).await.unwrap().into_inner();
        let status = loop {
            match events.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended by itself"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        client
    });
    let record = poll("its end is on record", || {
        let all = history(&testbed, &[]);
        (all.len() == 1 && all[0]["outcome"] != "running").then(|| all[0].clone())
    });
    assert_eq!(
        (&record["outcome"], &record["message"]),
        (&"timed_out".into(), &"the deadline of its call passed".into()),
        "{record}"
    );
}
