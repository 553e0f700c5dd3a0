//! A kill leaves no descendant, whatever it has done to leave the process group; a normal end leaves all of them.

#[macro_use]
mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use baton_exec_server::SpawnMethod;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{CallEnd as WireEnd, Signal, SignalRequest, Start, exited};
use baton_trace::call_end::{CallEnd, CallEndCell};
use support::{Call, Host, eventually, start};

with_each_spawn_method! {
    sigkill_reaches_every_descendant,
    every_end_of_a_call_reaches_every_descendant,
    a_descendant_outside_of_the_group_may_clean_up,
}

/// A number of seconds for sleep(1) that no other process of the machine has in its arguments.
fn token() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("1000.{}{next:04}", std::process::id())
}

const NONE: [u32; 0] = [];

/// The processes with this token in their arguments.
fn left(token: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_token = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(token)
    };
    pids.filter(has_token).collect()
}

/// Kills what a failed test leaves.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        for pid in left(&self.0) {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Descendants that leave the process group in every way that keeps their environment, and close or hold the pipes. The
/// last one reports that all of them run.
fn escapes(token: &str) -> String {
    let sleep = format!("sleep {token}");
    format!(
        "{sleep} &
         setsid {sleep} </dev/null >/dev/null 2>&1 &
         setsid {sleep} &
         (setsid sh -c '{sleep} & {sleep} >/dev/null 2>&1 & wait' &)
         (setsid sh -c '(setsid {sleep} >/dev/null 2>&1 &)')
         nohup {sleep} >/dev/null 2>&1 &
         setsid sh -c 'trap \"\" HUP INT TERM; {sleep}; {sleep}' &
         exec sleep {token}"
    )
}

/// Processes of [`escapes`] with the token in their arguments, at least.
const ESCAPED: usize = 8;

async fn running(token: &str) {
    eventually("the descendants run", || left(token).len() >= ESCAPED).await;
}

async fn escaped(host: &Host, token: &str, start: Start) -> (Call, Start) {
    let call = host.run(start.clone()).await.unwrap();
    running(token).await;
    (call, start)
}

fn shell(script: &str) -> Start {
    start(&["sh", "-c", script])
}

async fn signal(host: &Host, start: &Start, name: &str, ends: bool) {
    let signal = SignalRequest {
        process_id: start.process_id.clone(),
        signal: Some(Signal {
            name: name.to_owned(),
            ends,
        }),
    };
    host.client.clone().signal(signal).await.unwrap();
}

async fn sigkill_reaches_every_descendant(method: SpawnMethod) {
    let host = Host::start(method).await;
    let token = token();
    let _cleanup = Cleanup(token.clone());
    let (call, start) = escaped(&host, &token, shell(&escapes(&token))).await;
    signal(&host, &start, "KILL", false).await;
    let ran = call.finish().await;
    assert_eq!(left(&token), NONE, "Closed comes when none is left");
    let exited::Status::Signaled(signaled) = ran.status() else {
        panic!("{:?}", ran.status())
    };
    assert_eq!(signaled.signal, 9);
    assert_eq!(ran.exited.unwrap().call_end(), WireEnd::None);
    let closed = ran.closed.unwrap();
    assert_eq!(
        (closed.survivors, closed.truncated),
        (0, false),
        "no descendant holds a pipe"
    );
    host.idle().await;
}

async fn every_end_of_a_call_reaches_every_descendant(method: SpawnMethod) {
    let host = Host::start(method).await;
    for end in CallEnd::ALL {
        let token = token();
        let _cleanup = Cleanup(token.clone());
        let cell = CallEndCell::default();
        host.ends_by(cell.clone());
        // Without a grace, a lost session and the end of a grace are the same here.
        let (call, _) = escaped(&host, &token, shell(&escapes(&token))).await;
        cell.set(end);
        drop(call);
        host.idle().await;
        assert_eq!(left(&token), NONE, "{end:?}");
    }
    let token = token();
    let _cleanup = Cleanup(token.clone());
    host.ends_by(CallEndCell::default());
    let (call, _) = escaped(&host, &token, shell(&escapes(&token))).await;
    assert_eq!(host.service.shutdown().await, 0);
    assert_eq!(left(&token), NONE, "shutdown");
    drop(call);
}

async fn a_descendant_outside_of_the_group_may_clean_up(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    // A busy machine may need longer than the grace period most times, but not nearly always.
    const TIMES: usize = 12;
    let clean = |path: &PathBuf| fs::read(path).is_ok_and(|text| text == b"clean");
    let mut cleaned = 0;
    for number in 0..TIMES {
        let token = token();
        let _cleanup = Cleanup(token.clone());
        let file = directory.path().join(number.to_string());
        let script = format!(
            "setsid sh -c 'trap \"printf clean >{}; exit\" TERM; sleep {token} & echo ready; wait' & wait",
            file.display()
        );
        let mut call = host.run(shell(&script)).await.unwrap();
        call.pid().await;
        assert!(matches!(call.next().await.unwrap(), Some(Kind::Output(_))));
        drop(call);
        host.idle().await;
        assert_eq!(left(&token), NONE);
        cleaned += usize::from(clean(&file));
    }
    assert!(cleaned * 4 >= TIMES, "{cleaned} of {TIMES}");
}

#[tokio::test]
async fn a_process_that_ends_by_itself_leaves_its_daemons() {
    let host = Host::start(SpawnMethod::Auto).await;
    let token = token();
    let _cleanup = Cleanup(token.clone());
    let ran = host
        .sh(&format!(
            "setsid sleep {token} >/dev/null 2>&1 & nohup sleep {token} >/dev/null 2>&1 & exit 3"
        ))
        .await;
    assert_eq!(ran.code(), 3);
    host.idle().await;
    // They may still be before their exec.
    eventually("the daemons run", || left(&token).len() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(left(&token).len(), 2);
}

#[tokio::test]
async fn a_signal_that_ends_leaves_what_ends_by_itself_and_kills_the_rest() {
    let host = Host::start(SpawnMethod::Auto).await;
    let token = token();
    let _cleanup = Cleanup(token.clone());
    let start = Start {
        kill_grace_ms: Some(60_000),
        ..shell(&format!(
            "setsid sleep {token} >/dev/null 2>&1 & trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done"
        ))
    };
    let mut call = host.run(start.clone()).await.unwrap();
    call.pid().await;
    call.next().await.unwrap();
    eventually("the daemon runs", || left(&token).len() >= 2).await;
    let begun = Instant::now();
    signal(&host, &start, "INT", true).await;
    let mut codes = Vec::new();
    while let Some(event) = call.next().await.unwrap() {
        if let Kind::Exited(exited) = event {
            codes.push(exited.status.unwrap());
        }
    }
    assert_eq!(codes, [exited::Status::Code(7)]);
    assert_eq!(left(&token), NONE);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "not after the kill grace"
    );
}

#[tokio::test]
async fn a_terminals_jobs_are_killed() {
    let host = Host::start(SpawnMethod::Auto).await;
    let token = token();
    let _cleanup = Cleanup(token.clone());
    let start = Start {
        stdin: true,
        terminal: Some(baton_proto::exec::WindowSize {
            columns: 80,
            rows: 24,
            ..Default::default()
        }),
        // Each job of an interactive shell has a process group of its own.
        ..shell(&format!(
            "set -m; trap '' HUP; sleep {token} & setsid sleep {token} & sleep {token}"
        ))
    };
    let mut call = host.run(start.clone()).await.unwrap();
    call.pid().await;
    eventually("the jobs run", || left(&token).len() >= 4).await;
    signal(&host, &start, "KILL", false).await;
    while call.next().await.unwrap().is_some() {}
    assert_eq!(left(&token), NONE);
}

#[tokio::test]
async fn processes_that_are_created_while_they_are_killed_do_not_escape() {
    let host = Host::start(SpawnMethod::Auto).await;
    let token = token();
    let _cleanup = Cleanup(token.clone());
    // Four loops, each in a session of its own, of 300 processes that are in sessions of their own too.
    let fork = format!(
        "i=0; while [ $i -lt 300 ]; do (setsid sleep {token} >/dev/null 2>&1 &); i=$((i+1)); done; sleep {token}"
    );
    let script = format!("for n in 1 2 3 4; do setsid sh -c '{fork}' & done; wait");
    let start = shell(&script);
    let mut call = host.run(start.clone()).await.unwrap();
    call.pid().await;
    eventually("it forks", || left(&token).len() > 60).await;
    assert!(left(&token).len() < 1200, "it still forks");
    signal(&host, &start, "KILL", false).await;
    let ran = call_end(&mut call).await;
    assert_eq!((left(&token), ran), (NONE.to_vec(), 0));
}

/// Follows a call to its end. Returns the survivors.
async fn call_end(call: &mut Call) -> u32 {
    let mut survivors = None;
    while let Some(event) = call.next().await.unwrap() {
        if let Kind::Closed(closed) = event {
            survivors = Some(closed.survivors);
        }
    }
    survivors.expect("no Closed")
}

/// What the mark cannot do, and docs/SECURITY.md says so.
#[tokio::test]
async fn a_descendant_without_its_environment_is_killed_while_its_parent_lives_and_escapes_after() {
    let host = Host::start(SpawnMethod::Auto).await;
    for (is_orphan, script) in [
        (false, "setsid sh -c 'env -i sleep TOKEN; :' & wait"),
        (true, "(setsid env -i sleep TOKEN >/dev/null 2>&1 &); sleep 1000"),
    ] {
        let token = token();
        let _cleanup = Cleanup(token.clone());
        let start = shell(&script.replace("TOKEN", &token));
        let mut call = host.run(start.clone()).await.unwrap();
        call.pid().await;
        let sleeps = || {
            let is_sleep = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
            };
            left(&token).into_iter().filter(is_sleep).count()
        };
        eventually("it runs", || sleeps() == 1).await;
        signal(&host, &start, "KILL", false).await;
        assert_eq!(
            call_end(&mut call).await,
            0,
            "one that is not seen is not counted"
        );
        assert_eq!(left(&token).len(), usize::from(is_orphan), "{script}");
    }
}

#[tokio::test]
async fn the_descendants_of_another_user_are_killed() {
    if !rustix::process::geteuid().is_root() {
        return println!("not checked: this test needs root");
    }
    let host = Host::start(SpawnMethod::Auto).await;
    host.calls_with("user=\"nobody\"");
    let token = token();
    let _cleanup = Cleanup(token.clone());
    let (call, start) = escaped(&host, &token, shell(&escapes(&token))).await;
    signal(&host, &start, "KILL", false).await;
    assert_eq!(call.finish().await.closed.unwrap().survivors, 0);
    assert_eq!(left(&token), NONE);
}
