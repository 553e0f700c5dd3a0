//! No process is left behind when clients vanish or the server shuts down.

#[macro_use]
mod support;

use std::time::Instant;

use baton_exec_server::SpawnMethod;
use baton_exec_server::limits::{KILL_GRACE, SHUTDOWN_TIMEOUT};
use baton_proto::exec::{Signaled, exited};
use support::{Host, eventually, group_is_gone, start};
use tonic::Code;

with_each_spawn_method! {
    the_whole_group_of_a_vanished_client_is_killed,
    a_process_that_ignores_sigterm_is_killed,
    descendants_are_killed_after_their_leader_has_exited,
    a_child_blocked_on_a_full_pipe_is_killed,
    sigterm_leaves_time_to_clean_up,
    shutdown_kills_every_process_tells_its_client_and_refuses_new_ones,
    shutdown_waits_for_no_client_that_does_not_read,
}

async fn vanish(script: &str, method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut call = host.run(start(&["sh", "-c", script])).await.unwrap();
    let pid = call.pid().await;
    // The script prints "ready" when its traps are set.
    call.next().await.unwrap();
    assert!(!group_is_gone(pid));
    drop(call);
    eventually("the group outlives its client", || group_is_gone(pid)).await;
    host.idle().await;
}

async fn the_whole_group_of_a_vanished_client_is_killed(method: SpawnMethod) {
    vanish("echo ready; sleep 1000 & sleep 1000", method).await;
}

async fn a_process_that_ignores_sigterm_is_killed(method: SpawnMethod) {
    vanish(
        "trap '' TERM; echo ready; sleep 1000 & while :; do sleep 1; done",
        method,
    )
    .await;
}

/// The leader has exited but is not reaped, so the group id is still valid.
async fn descendants_are_killed_after_their_leader_has_exited(method: SpawnMethod) {
    vanish("trap '' TERM; sleep 1000 & echo ready", method).await;
}

async fn a_child_blocked_on_a_full_pipe_is_killed(method: SpawnMethod) {
    vanish("echo ready; cat /dev/zero", method).await;
}

async fn sigterm_leaves_time_to_clean_up(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("left-over");
    let script = format!(
        "trap 'sleep 0.05; : >{}; exit' TERM; echo ready; sleep 1000 & wait",
        file.display()
    );
    // A busy machine may need longer than the grace period most times, but not nearly always.
    const TIMES: usize = 12;
    let mut clean = 0;
    for _ in 0..TIMES {
        std::fs::write(&file, "left over").unwrap();
        let mut call = host.run(start(&["sh", "-c", &script])).await.unwrap();
        call.pid().await;
        call.next().await.unwrap();
        drop(call);
        host.idle().await;
        clean += usize::from(std::fs::read(&file).unwrap().is_empty());
    }
    assert!(
        clean * 4 >= TIMES,
        "{clean} of {TIMES} could clean up before they were killed"
    );
}

async fn shutdown_kills_every_process_tells_its_client_and_refuses_new_ones(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(host.run(start(&["sleep", "1000"])).await.unwrap());
    }
    let begun = Instant::now();
    assert_eq!(host.service.shutdown().await, 0);
    assert!(begun.elapsed() < KILL_GRACE + SHUTDOWN_TIMEOUT);
    let killed = Signaled {
        signal: 15,
        core_dumped: false,
    };
    for call in calls {
        assert_eq!(call.finish().await.status(), exited::Status::Signaled(killed));
    }
    assert_eq!(
        host.run(start(&["true"])).await.err().unwrap().code(),
        Code::Unavailable
    );
    assert_eq!(host.service.shutdown().await, 0);
}

async fn shutdown_waits_for_no_client_that_does_not_read(method: SpawnMethod) {
    let host = Host::start(method).await;
    let call = host
        .run(start(&["sh", "-c", "trap '' TERM; cat /dev/zero"]))
        .await
        .unwrap();
    assert_eq!(host.service.shutdown().await, 0);
    drop(call);
}
