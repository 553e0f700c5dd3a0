//! A start that is repeated: the same process, never a second one.

mod support;

use std::fs;

use baton_exec_server::ExecService;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Exited, ProcessEvent, Signaled, Start, exited};
use support::{Host, most, start};

/// The seqs, the exit and the count of bytes on stdout that a repeated start was told.
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

/// A command that leaves a line in a file each time it runs, prints four bytes, and exits with 3 once its stdin is closed.
fn counted(name: &str) -> (std::path::PathBuf, Start) {
    let file = std::env::temp_dir().join(format!("baton-again-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&file);
    let script = format!("echo ran >>{}; echo out; read line; exit 3", file.display());
    let start = Start {
        stdin: true,
        ..start(&["sh", "-c", &script])
    };
    (file, start)
}

#[tokio::test]
async fn a_start_repeated_after_the_end_is_told_the_end_and_runs_nothing() {
    let host = Host::start().await;
    let (file, start) = counted("after");
    let call = host.run(start.clone()).await.unwrap();
    call.requests.close_stdin(0).await;
    let ran = call.finish().await;
    assert_eq!(ran.code(), 3);
    for _ in 0..3 {
        let again = host.run(start.clone()).await.unwrap().events().await;
        assert_eq!(end(&again), ([3, 4], exited::Status::Code(3), 4));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "ran\n");
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_start_repeated_while_it_runs_waits_for_the_end_and_changes_nothing() {
    let host = Host::start().await;
    let (file, start) = counted("while");
    let first = host.run(start.clone()).await.unwrap();
    let impatient = host.run(start.clone()).await.unwrap();
    let patient = host.run(start).await.unwrap();
    // Giving up on the repetition is not giving up on the process.
    drop(impatient);
    first.requests.close_stdin(0).await;
    let ran = first.finish().await;
    assert_eq!((ran.code(), ran.text()), (3, "out\n"), "the first sees all");
    assert_eq!(end(&patient.events().await), ([3, 4], exited::Status::Code(3), 4));
    assert_eq!(fs::read_to_string(&file).unwrap(), "ran\n");
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_client_that_went_away_and_comes_back_learns_that_its_command_was_killed() {
    let host = Host::start().await;
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

#[tokio::test]
async fn a_repetition_needs_no_place_of_its_own() {
    let host = Host::with(ExecService::with(support::EPOCH, &most(1))).await;
    let start = start(&["sleep", "1000"]);
    let first = host.run(start.clone()).await.unwrap();
    let again = host.run(start).await.unwrap();
    drop(first);
    assert_eq!(again.events().await.len(), 2);
}
