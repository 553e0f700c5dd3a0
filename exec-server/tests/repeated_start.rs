//! A repeated start: the same process, never a second one.

#[macro_use]
mod support;

use std::fs;

use baton_exec_server::{ExecService, SpawnMethod};
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Exited, ProcessEvent, Signaled, Start, exited};
use support::{Host, most, start};
use tempfile::NamedTempFile;

with_each_spawn_method! {
    a_start_repeated_after_the_end_gets_the_termination_and_runs_nothing,
    a_start_repeated_while_it_runs_waits_for_the_end_and_changes_nothing,
    a_client_that_went_away_and_comes_back_learns_that_its_command_was_killed,
    a_repeated_start_needs_no_slot,
}

/// The `seq`s, the exit and the bytes on stdout in the answer to a repeated start.
fn end(events: &[ProcessEvent]) -> ([u64; 2], exited::Status, u64) {
    let [
        ProcessEvent {
            seq: first,
            kind: Some(Kind::Exited(Exited { status, .. })),
        },
        ProcessEvent {
            seq: second,
            kind: Some(Kind::Closed(closed)),
        },
    ] = events
    else {
        panic!("{events:?}");
    };
    ([*first, *second], status.unwrap(), closed.stdout_bytes)
}

/// A command that leaves a line in a file each time it runs, prints four bytes, and exits with 3 once its stdin is
/// closed.
fn counted() -> (NamedTempFile, Start) {
    let file = NamedTempFile::new().unwrap();
    let script = format!(
        "echo ran >>{}; echo out; read line; exit 3",
        file.path().display()
    );
    let start = Start {
        stdin: true,
        ..start(&["sh", "-c", &script])
    };
    (file, start)
}

async fn a_start_repeated_after_the_end_gets_the_termination_and_runs_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let (file, start) = counted();
    let call = host.run(start.clone()).await.unwrap();
    call.requests.close_stdin(0).await;
    let ran = call.finish().await;
    assert_eq!(ran.code(), 3);
    for _ in 0..3 {
        let again = host.run(start.clone()).await.unwrap().events().await;
        assert_eq!(end(&again), ([3, 4], exited::Status::Code(3), 4));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "ran\n");
}

async fn a_start_repeated_while_it_runs_waits_for_the_end_and_changes_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let (file, start) = counted();
    let first = host.run(start.clone()).await.unwrap();
    let impatient = host.run(start.clone()).await.unwrap();
    let patient = host.run(start).await.unwrap();
    // Dropping the repeated call does not affect the process.
    drop(impatient);
    first.requests.close_stdin(0).await;
    let ran = first.finish().await;
    assert_eq!((ran.code(), ran.text()), (3, "out\n"), "the first sees all");
    assert_eq!(end(&patient.events().await), ([3, 4], exited::Status::Code(3), 4));
    assert_eq!(fs::read_to_string(&file).unwrap(), "ran\n");
}

async fn a_client_that_went_away_and_comes_back_learns_that_its_command_was_killed(method: SpawnMethod) {
    let host = Host::start(method).await;
    let start = start(&["sleep", "1000"]);
    drop(host.run(start.clone()).await.unwrap());
    let again = host.run(start).await.unwrap().events().await;
    let killed = Signaled {
        signal: 15,
        core_dumped: false,
    };
    assert_eq!(end(&again).1, exited::Status::Signaled(killed));
    host.idle().await;
}

async fn a_repeated_start_needs_no_slot(method: SpawnMethod) {
    let host = Host::with(ExecService::with(support::EPOCH, &most(1, method)).unwrap()).await;
    let start = start(&["sleep", "1000"]);
    let first = host.run(start.clone()).await.unwrap();
    let again = host.run(start).await.unwrap();
    drop(first);
    assert_eq!(again.events().await.len(), 2);
}
