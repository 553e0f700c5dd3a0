//! `baton warm` with its board, warm and pooled sessions, and the state that no command leaves to the next one.

use std::fs;
use std::process::Command as Process;
use std::time::Duration;

use baton_core_client::warm::{BoardEvent, HitPercent, Pool, Warm as _, Warmer};
use baton_core_client::{Client, Command, ExitStatus, PingedSession};
use baton_trace::w3c::TraceContext;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{Finished, Home, Input, PATIENCE, Running, Testbed, after, poll, run};

fn warm(testbed: &Testbed, home: &Home, options: &[&str]) -> Process {
    let mut baton = home.baton();
    baton
        .arg("warm")
        .args(options)
        .env("BATON_TICKET", testbed.ticket.to_string());
    baton
}

/// Ends a `baton warm` with Ctrl-C, after `ready`.
fn interrupt(running: Running, ready: impl FnOnce()) -> Finished {
    ready();
    running.signal(Signal::INT);
    let finished = running.finish();
    assert_eq!((finished.code, &*finished.stderr), (0, ""), "{finished:?}");
    finished
}

fn objects<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    let object = |line| serde_json::from_str(line).unwrap();
    lines.into_iter().map(object).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs a shell script, and returns its standard output.
async fn sh(client: &Client, script: &str) -> String {
    let output = client
        .run(Command::new("sh").arg("-c").arg(script))
        .await
        .unwrap();
    assert_eq!(output.status, ExitStatus::Code(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the board has a state of this conversation with this many warms.
async fn on_board(client: &Client, conversation: &str, warms: usize) {
    let seen = async {
        let mut board = client.warm_board().watch(Some(conversation)).await.unwrap();
        loop {
            if let BoardEvent::State { state, .. } = board.next().await.unwrap()
                && state.history.len() >= warms
            {
                return;
            }
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
}

#[test]
fn a_second_process_watches_what_the_first_keeps_warm_and_sees_its_end() {
    let testbed = Testbed::new();
    let options = ["--conversation", "release-42", "--interval", "200ms", "--json"];
    let keeping = Running::start(warm(&testbed, &testbed.home, &options), Input::Open);
    let client = testbed.client();
    let runtime = runtime();
    runtime.block_on(on_board(&client, "release-42", 1));
    // Its output goes to a file, in which the test sees when it has printed the removal.
    let printed = testbed.home.file("printed");
    let watch = warm(&testbed, &testbed.home, &["--watch", "--no-keep", "--json"]);
    let watch = after(&format!("exec >'{}'", printed.display()), &watch);
    let watching = Running::start(watch, Input::Open);
    let lines = || {
        let text = fs::read_to_string(&printed).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    poll("the watcher shows three states", || {
        (lines().len() >= 3).then_some(())
    });
    let other = testbed.home.file("other");
    let named = ["--watch", "--no-keep", "--conversation", "another", "--json"];
    let named = warm(&testbed, &testbed.home, &named);
    let named = after(&format!("exec >'{}'", other.display()), &named);
    let watching_another = Running::start(named, Input::Open);
    let kept = interrupt(keeping, || {});
    poll("the removal is shown", || {
        lines().last()?.contains("\"enabled\":null").then_some(())
    });
    interrupt(watching, || {});
    let watched = lines();
    // A watcher of one conversation sees no other one.
    let options = ["--conversation", "another", "--interval", "200ms", "--json"];
    let keeping_another = Running::start(warm(&testbed, &testbed.home, &options), Input::Open);
    let lines_of_another = || {
        let text = fs::read_to_string(&other).unwrap_or_default();
        objects(text.split_inclusive('\n').filter(|line| line.ends_with('\n')))
    };
    poll("the other conversation's state is shown", || {
        (!lines_of_another().is_empty()).then_some(())
    });
    interrupt(keeping_another, || {});
    interrupt(watching_another, || {});
    for object in lines_of_another() {
        assert_eq!(object["conversation"], "another");
    }
    let (kept, watched) = (
        objects(kept.text().lines()),
        objects(watched.iter().map(String::as_str)),
    );
    for object in kept.iter().chain(&watched) {
        let keys: Vec<_> = object.as_object().unwrap().keys().collect();
        let expected = [
            "active",
            "conversation",
            "enabled",
            "history",
            "interval",
            "last_result",
            "last_warm_at",
            "next_warm_at",
        ];
        assert_eq!(keys, expected);
        assert_eq!(object["conversation"], "release-42");
    }
    let (last, states) = watched.split_last().unwrap();
    assert!(
        last["enabled"].is_null() && last["history"] == serde_json::json!([]),
        "{last}"
    );
    for state in states {
        assert_eq!(state["interval"], 200);
        assert!(
            kept.contains(state),
            "the same state that the publisher shows: {state}"
        );
        assert!(state["next_warm_at"].as_u64() > state["last_warm_at"].as_u64());
        assert_eq!(state["last_result"]["hit_percent"], 100);
    }
    assert!(states.len() >= 2, "{watched:?}");
    assert!(
        !testbed.exec_server.stderr().contains("under way"),
        "{}",
        testbed.exec_server.stderr()
    );
}

#[test]
fn another_key_does_not_see_a_conversation() {
    let testbed = Testbed::new();
    let other = Home::new();
    let allowed = testbed.home.config("allowed_clients");
    let mut lines = fs::read_to_string(&allowed).unwrap();
    lines.push_str(&format!("{} other continue\n", other.public()));
    fs::write(&allowed, lines).unwrap();
    let options = ["--conversation", "secret", "--interval", "200ms", "--json"];
    let keeping = Running::start(warm(&testbed, &testbed.home, &options), Input::Open);
    runtime().block_on(on_board(&testbed.client(), "secret", 1));
    let options = [
        "--watch",
        "--interval",
        "200ms",
        "--conversation",
        "own",
        "--json",
    ];
    let watching = Running::start(warm(&testbed, &other, &options), Input::Open);
    let watched = interrupt(watching, || {
        runtime().block_on(on_board(&other.client(&testbed.ticket), "own", 3));
    });
    assert!(
        watched.text().contains("own") && !watched.text().contains("secret"),
        "{watched:?}"
    );
    interrupt(keeping, || {});
}

#[test]
fn a_warm_that_cannot_begin_says_what_to_do() {
    let testbed = Testbed::new();
    let stranger = Home::new();
    run(warm(&testbed, &stranger, &["--json"])).assert_failed(255, "add this line to its allow-list");
    run(warm(&testbed, &stranger, &["--watch", "--no-keep"])).assert_failed(255, "add this line");
    for (options, says) in [
        (&["--interval", "0s"][..], "at least 100 ms"),
        (&["--interval", "99ms"], "at least 100 ms"),
        (&["--interval", "8days"], "at most 7 days"),
        (&["--interval", "soon"], "expected a time like 30s"),
        (
            &["--interval", "30000000000000000000s"],
            "expected a time like 30s",
        ),
        (&["--no-keep"], "--watch"),
        (&["--conversation", ""], "not an empty one"),
    ] {
        run(warm(&testbed, &testbed.home, options)).assert_failed(2, says);
    }
}

#[test]
fn an_exec_server_that_ends_does_not_wait_for_the_board() {
    let mut testbed = Testbed::new();
    let options = ["--conversation", "a", "--interval", "200ms", "--watch"];
    // Its output goes to a file, in which the test sees when it has printed a state.
    let printed = testbed.home.file("printed");
    let keep = warm(&testbed, &testbed.home, &options);
    let keep = after(&format!("exec >'{}'", printed.display()), &keep);
    let keeping = Running::start(keep, Input::Open);
    runtime().block_on(on_board(&testbed.client(), "a", 1));
    let began = std::time::Instant::now();
    testbed.stop_exec_server();
    let took = began.elapsed();
    assert!(took < baton_channel::limits::DRAIN_TIMEOUT, "{took:?}");
    // The warmer goes on, and finds the next exec-server.
    testbed.exec_server = testbed
        .home
        .exec_server(&format!("http://{}", testbed.relay_address));
    testbed.await_registration();
    runtime().block_on(on_board(&testbed.client(), "a", 1));
    poll("the session was established again", || {
        let shown = fs::read_to_string(&printed).ok()?;
        shown.contains("hit 0 %").then_some(())
    });
    interrupt(keeping, || {});
}

#[test]
fn a_ping_tells_a_kept_session_from_a_new_one() {
    let mut testbed = Testbed::new();
    let client = testbed.client();
    runtime().block_on(async {
        assert!(!client.is_connected());
        assert_eq!(client.ping().await.unwrap(), PingedSession::Established);
        assert_eq!(client.ping().await.unwrap(), PingedSession::Kept);
        assert_eq!(client.warm().await, Ok(HitPercent::ALL));
        client.close().await;
        assert_eq!(client.warm().await, Ok(HitPercent::NONE));
        testbed.stop_exec_server();
        testbed.exec_server = testbed
            .home
            .exec_server(&format!("http://{}", testbed.relay_address));
        testbed.await_registration();
        assert_eq!(client.warm().await, Ok(HitPercent::NONE));
        let warmer = Warmer::start(client.clone(), Duration::from_millis(100).try_into().unwrap());
        let mut watch = warmer.watch();
        let warmed = async { while watch.next().await.unwrap().state.history.len() < 3 {} };
        timeout(PATIENCE, warmed).await.unwrap();
        let history = warmer.state().history;
        assert!(
            history
                .iter()
                .all(|warm| warm.result.hit() == Some(HitPercent::ALL)),
            "{history:?}"
        );
    });
}

#[test]
fn a_pool_hands_out_living_sessions_and_a_fresh_client_when_it_is_empty() {
    let mut testbed = Testbed::new();
    let client = testbed.client();
    runtime().block_on(async {
        for size in [0, baton_core_client::limits::POOL_SESSIONS_MAX + 1] {
            assert!(Pool::start(&client, size).is_err());
        }
        let pool = Pool::start(&client, 2).unwrap();
        timeout(PATIENCE, pool.filled()).await.unwrap();
        assert!(!client.is_connected(), "the pool has sessions of its own");
        let taken = pool.take();
        assert_eq!(taken.ping().await.unwrap(), PingedSession::Kept);
        assert_eq!(sh(&taken, "echo ok").await, "ok\n");
        timeout(PATIENCE, pool.filled())
            .await
            .expect("it is filled again");
        // Three takes in a row empty it. A client without a session dials.
        let clients: Vec<_> = (0..3).map(|_| pool.take()).collect();
        let connected = clients.iter().filter(|client| client.is_connected()).count();
        assert_eq!(connected, 2);
        for client in &clients {
            assert_eq!(sh(client, "echo ok").await, "ok\n");
        }
        timeout(PATIENCE, pool.filled()).await.unwrap();
        testbed.stop_exec_server();
        poll("the sessions have ended", || (pool.ready() == 0).then_some(()));
        let taken = pool.take();
        assert!(!taken.is_connected(), "a dead session is not handed out");
        testbed.exec_server = testbed
            .home
            .exec_server(&format!("http://{}", testbed.relay_address));
        testbed.await_registration();
        assert_eq!(sh(&taken, "echo ok").await, "ok\n");
        timeout(PATIENCE, pool.filled()).await.expect("it recovers");
    });
}

/// What a command can see of its surroundings, without what differs between any two commands.
const SEEN: &str = "env | grep -v -e ^TRACEPARENT= -e ^_= -e ^BATON_ | sort; pwd; umask; ulimit -a; \
    grep -e ^Sig -e ^Shd /proc/self/status | grep -v -e SigQ -e SigCgt; ls -l /proc/self/fd | grep -c pipe; \
    wc -c; set -- $(cat /proc/$$/stat); test $1 = $5 && echo leads its group; cat /proc/self/oom_score_adj";

/// Leaves as much as a command can: variables, a directory, a mask, limits, unread input, output that nobody reads,
/// signals, a thread with a title, and a trace.
async fn leave_traces(client: &Client) {
    let command = || {
        Command::new("sh")
            .env("LEFT", "over")
            .env("TRACESTATE", "left=over")
            .current_dir("/tmp")
            .thread("left-over")
            .thread_title("Left over")
            .parent(TraceContext::from_environment(|name| {
                let value = match name {
                    "TRACEPARENT" => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                    "TRACESTATE" => "left=over",
                    "BAGGAGE" => "left=over",
                    _ => return None,
                };
                Some(value.into())
            }))
    };
    let script = "umask 077; ulimit -n 50; cd /; export A=b; trap '' TERM HUP; kill -USR1 $$; exit 7";
    let _ = client.run(command().arg("-c").arg(script)).await.unwrap();
    // It reads nothing of its input, and its output is not read to its end.
    let (mut run, mut stdin) = client
        .start(command().arg("-c").arg("yes left over"))
        .await
        .unwrap();
    let _ = timeout(Duration::from_millis(50), stdin.write(vec![b'x'; 300_000].into())).await;
    run.next().await.unwrap();
    drop((run, stdin));
    // A command that is cut short by its timeout.
    let late = command()
        .arg("-c")
        .arg("trap '' TERM; echo left; sleep 60")
        .timeout(Duration::from_millis(50));
    client.run(late).await.unwrap_err();
}

#[test]
fn no_state_of_one_command_is_visible_in_the_next() {
    let testbed = Testbed::new();
    runtime().block_on(async {
        let fresh = sh(&testbed.client(), SEEN).await;
        assert!(fresh.contains("leads its group"), "{fresh}");
        let client = testbed.client();
        let pool = Pool::start(&client, 2).unwrap();
        for round in 0..3 {
            leave_traces(&client).await;
            assert_eq!(sh(&client, SEEN).await, fresh, "on one session, round {round}");
            // What is in flight of the commands before must not reach the output of the next one.
            let text = sh(&client, "seq 20000").await;
            assert!(
                text.lines().eq((1..=20_000).map(|n| n.to_string())),
                "round {round}"
            );
            timeout(PATIENCE, pool.filled()).await.unwrap();
            leave_traces(&pool.take()).await;
            assert_eq!(
                sh(&pool.take(), SEEN).await,
                fresh,
                "on a pooled session, round {round}"
            );
        }
        // The next command is in no thread and in a trace of its own.
        let (one, other) = (
            sh(&client, "echo $TRACEPARENT $TRACESTATE $BAGGAGE").await,
            sh(&client, "echo $TRACEPARENT $TRACESTATE $BAGGAGE").await,
        );
        assert!(
            !one.contains("0af7651916cd43dd8448eb211c80319c") && !one.contains("left"),
            "{one}"
        );
        assert_ne!(one, other);
        let request = baton_proto::metadata::HistoryRequest {
            limit: 1,
            ..Default::default()
        };
        let mut pages = client.records().history(request).await.unwrap();
        let page = pages.next().await.unwrap().unwrap();
        assert_eq!(page.records[0].thread_id, "");
    });
}
