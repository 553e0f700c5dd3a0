//! Processes to which no call is attached, polls, dropped output, and the answer to a repeated start.

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use baton_exec_server::{ExecService, Settings, SpawnMethod};
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{
    Attach, CallEnd as WireEnd, ExecError, ListRequest, PollRequest, ProcessEvent, ProcessState, Repeated,
    Start, WaitRequest, exited,
};
use baton_trace::call_end::{CallDeadline, CallEnd, CallEndCell};
use support::{EPOCH, Host, eventually, start};
use tonic::{Code, Status};

with_each_spawn_method! {
    a_detached_process_runs_to_its_end_without_a_call,
    a_detached_process_is_killed_by_the_deadline_and_by_the_reset_of_a_call_that_attaches,
    a_start_that_may_not_be_detached_starts_nothing,
    output_that_nobody_reads_is_dropped_where_the_start_says_so,
    a_poll_reads_every_byte_and_makes_room_for_more,
    a_poll_waits_for_an_event_and_gets_the_end_of_a_process_whose_log_is_gone,
    a_repeated_start_is_told_what_it_repeats,
}

/// More than a log and a pipe hold.
const BULK: u64 = 8 * 1024 * 1024;

fn detached(argv: &[&str]) -> Start {
    Start {
        detached: true,
        ..start(argv)
    }
}

fn poll_of(start: &Start, after_seq: u64, wait_ms: u32) -> PollRequest {
    PollRequest {
        process_id: start.process_id.clone(),
        epoch: start.epoch.clone(),
        after_seq,
        wait_ms,
    }
}

async fn polled(host: &Host, start: &Start, after: u64, wait_ms: u32) -> Result<Vec<ProcessEvent>, Status> {
    let answer = host.client.clone().poll(poll_of(start, after, wait_ms)).await?;
    Ok(answer.into_inner().events)
}

async fn exit_of(host: &Host, start: &Start) -> exited::Status {
    exited_of(host, start).await.0
}

async fn exited_of(host: &Host, start: &Start) -> (exited::Status, WireEnd) {
    let wait = WaitRequest {
        process_id: start.process_id.clone(),
        epoch: start.epoch.clone(),
    };
    let events = tokio::time::timeout(Duration::from_secs(30), host.wait(wait)).await;
    match &events.expect("it never ends").unwrap()[0].kind {
        Some(Kind::Exited(exited)) => (exited.status.unwrap(), exited.call_end()),
        other => panic!("{other:?}"),
    }
}

fn assert_is(status: &Status, code: Code, kind: ErrorKind) {
    let error = ExecError::from_details(status.details()).expect("no detail");
    assert_eq!((status.code(), error.kind()), (code, kind), "{status:?}");
}

async fn a_detached_process_runs_to_its_end_without_a_call(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let script = format!(
        "echo one; until [ -e {} ]; do sleep 0.01; done; echo two; exit 6",
        go.display()
    );
    let start = detached(&["sh", "-c", &script]);
    let end = CallEndCell::default();
    host.ends_by(end.clone());
    let events = host.run(start.clone()).await.unwrap().events().await;
    let [
        ProcessEvent {
            seq: 1,
            kind: Some(Kind::Started(started)),
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(started.grace_ms, u32::MAX);
    // What the transport says of a call that is over changes nothing.
    end.set(CallEnd::Reset);
    let listed = host
        .client
        .clone()
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.processes[0].state(), ProcessState::Detached);
    std::fs::write(&go, "").unwrap();
    assert_eq!(exit_of(&host, &start).await, exited::Status::Code(6));
    // Its output is kept for a call that attaches.
    host.ends_by(CallEndCell::default());
    let mut call = host
        .attach(Attach {
            process_id: start.process_id.clone(),
            ..Attach::default()
        })
        .await
        .unwrap();
    assert!(matches!(call.next().await.unwrap(), Some(Kind::Attached(_))));
    assert_eq!(call.finish().await.text(), "one\ntwo\n");
}

async fn a_detached_process_is_killed_by_the_deadline_and_by_the_reset_of_a_call_that_attaches(
    method: SpawnMethod,
) {
    let host = Host::start(method).await;
    let start = detached(&["sleep", "1000"]);
    host.ends_by(CallEndCell::default());
    host.calls_end_at(CallDeadline(Instant::now() + Duration::from_millis(300)));
    host.run(start.clone()).await.unwrap().events().await;
    let (status, why) = exited_of(&host, &start).await;
    assert!(matches!(status, exited::Status::Signaled(_)), "{status:?}");
    assert_eq!(why, WireEnd::Deadline);

    let host = Host::start(method).await;
    let start = detached(&["sleep", "1000"]);
    host.ends_by(CallEndCell::default());
    host.run(start.clone()).await.unwrap().events().await;
    let end = CallEndCell::default();
    host.ends_by(end.clone());
    let mut call = host
        .attach(Attach {
            process_id: start.process_id.clone(),
            ..Attach::default()
        })
        .await
        .unwrap();
    assert!(matches!(call.next().await.unwrap(), Some(Kind::Attached(_))));
    end.set(CallEnd::Reset);
    drop(call);
    assert_eq!(exited_of(&host, &start).await.1, WireEnd::Reset);
}

async fn a_start_that_may_not_be_detached_starts_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let with_stdin = Start {
        stdin: true,
        ..detached(&["true"])
    };
    let refused = host.run(with_stdin).await.err().unwrap();
    assert_is(&refused, Code::InvalidArgument, ErrorKind::InvalidStart);
    host.calls_with("command=\"true\"");
    let refused = host.run(detached(&["true"])).await.err().unwrap();
    assert_is(&refused, Code::PermissionDenied, ErrorKind::NotDetachable);
    let refused = polled(&host, &detached(&["true"]), 0, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let settings = Settings {
        spawn: method,
        max_grace: Duration::ZERO,
        ..Settings::default()
    };
    let host = Host::with(ExecService::with(EPOCH, &settings).unwrap()).await;
    let refused = host.run(detached(&["true"])).await.err().unwrap();
    assert_is(&refused, Code::PermissionDenied, ErrorKind::NotDetachable);
    assert_eq!(host.service.processes(), 0);
}

async fn output_that_nobody_reads_is_dropped_where_the_start_says_so(method: SpawnMethod) {
    let script = format!("head -c {BULK} /dev/zero; echo; echo end");
    // With a call that does not read, and without any.
    for is_detached in [true, false] {
        let host = Host::start(method).await;
        host.ends_by(CallEndCell::default());
        let start = Start {
            drop_output: true,
            detached: is_detached,
            grace_ms: 60_000,
            ..start(&["sh", "-c", &script])
        };
        let call = host.run(start.clone()).await.unwrap();
        assert_eq!(exit_of(&host, &start).await, exited::Status::Code(0));
        let mut call = match is_detached {
            false => call,
            true => {
                let process_id = start.process_id.clone();
                let attach = Attach {
                    process_id,
                    ..Attach::default()
                };
                let mut call = host.attach(attach).await.unwrap();
                assert!(matches!(call.next().await.unwrap(), Some(Kind::Attached(_))));
                call
            }
        };
        let (mut gaps, mut output, mut closed) = (0, Vec::new(), None);
        while let Some(kind) = call.next().await.unwrap() {
            match kind {
                Kind::Gap(_) => gaps += 1,
                Kind::Output(piece) => output.extend_from_slice(&piece.data),
                Kind::Closed(last) => closed = Some(last),
                _ => {}
            }
        }
        assert!(
            gaps > 0 && (output.len() as u64) < BULK,
            "{gaps} gaps, {}",
            output.len()
        );
        assert!(output.ends_with(b"\nend\n"));
        assert_eq!(closed.unwrap().stdout_bytes, BULK + 5);
    }
}

async fn a_poll_reads_every_byte_and_makes_room_for_more(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.ends_by(CallEndCell::default());
    let script = format!("head -c {BULK} /dev/zero; exit 4");
    let start = detached(&["sh", "-c", &script]);
    host.run(start.clone()).await.unwrap().events().await;
    let (mut last, mut bytes, mut kinds) = (0, 0, Vec::new());
    while !matches!(kinds.last(), Some(Kind::Closed(_))) {
        let events = polled(&host, &start, last, 20_000).await.unwrap();
        assert!(!events.is_empty(), "nothing after event {last}");
        for event in events {
            assert_eq!(event.seq, last + 1);
            last = event.seq;
            match event.kind.unwrap() {
                Kind::Output(piece) => bytes += piece.data.len() as u64,
                other => kinds.push(other),
            }
        }
    }
    assert_eq!(bytes, BULK);
    assert!(
        matches!(&kinds[..], [Kind::Started(_), Kind::Exited(_), Kind::Closed(_)]),
        "{kinds:?}"
    );
    assert!(
        polled(&host, &start, last, 20_000).await.unwrap().is_empty(),
        "there is no later event"
    );
}

async fn a_poll_waits_for_an_event_and_gets_the_end_of_a_process_whose_log_is_gone(method: SpawnMethod) {
    let host = Host::start(method).await;
    let end = CallEndCell::default();
    host.ends_by(end.clone());
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let script = format!(
        "until [ -e {} ]; do sleep 0.01; done; echo out; sleep 1000",
        go.display()
    );
    let start = Start {
        grace_ms: 60_000,
        ..start(&["sh", "-c", &script])
    };
    let mut call = host.run(start.clone()).await.unwrap();
    call.pid().await;
    assert!(polled(&host, &start, 1, 0).await.unwrap().is_empty());
    let waiting = polled(&host, &start, 1, 20_000);
    let (events, ()) = tokio::join!(waiting, async {
        std::fs::write(&go, "").unwrap();
    });
    let events = events.unwrap();
    assert!(
        matches!(
            &events[..],
            [ProcessEvent {
                seq: 2,
                kind: Some(Kind::Output(_))
            }]
        ),
        "{events:?}"
    );
    let refused = polled(&host, &start, 9, 0).await.unwrap_err();
    assert_is(&refused, Code::OutOfRange, ErrorKind::InvalidAttach);
    // It is killed, and its log with it.
    end.set(CallEnd::Reset);
    drop(call);
    exit_of(&host, &start).await;
    host.idle().await;
    let events = polled(&host, &start, 1, 20_000).await.unwrap();
    let kinds: Vec<_> = events.into_iter().map(|event| event.kind.unwrap()).collect();
    let [Kind::Gap(_), Kind::Exited(_), ..] = &kinds[..] else {
        panic!("{kinds:?}")
    };
    let unknown = support::start(&["true"]);
    let refused = polled(&host, &unknown, 0, 0).await.unwrap_err();
    assert_is(&refused, Code::NotFound, ErrorKind::UnknownProcess);
    let graceless = support::start(&["sleep", "1000"]);
    let _call = host.run(graceless.clone()).await.unwrap();
    let refused = polled(&host, &graceless, 0, 0).await.unwrap_err();
    assert_is(&refused, Code::FailedPrecondition, ErrorKind::NoGrace);
}

async fn a_repeated_start_is_told_what_it_repeats(method: SpawnMethod) {
    let host = Host::start(method).await;
    let repeat = |of: &Start| Start {
        tell_repeated: true,
        ..of.clone()
    };
    let told = async |start: &Start| match host.run(repeat(start)).await.unwrap().next().await.unwrap() {
        Some(Kind::Repeated(told)) => told,
        other => panic!("{other:?}"),
    };
    let answer = |attachable, attached| Repeated { attachable, attached };
    // Without a grace, with a call, after the call, and when it is over.
    let graceless = start(&["cat", "/dev/null"]);
    host.run(graceless.clone()).await.unwrap().finish().await;
    assert_eq!(told(&graceless).await, answer(false, false));
    let graced = Start {
        grace_ms: 60_000,
        ..start(&["sleep", "1000"])
    };
    let end = CallEndCell::default();
    host.ends_by(end.clone());
    let call = host.run(graced.clone()).await.unwrap();
    host.ends_by(CallEndCell::default());
    assert_eq!(told(&graced).await, answer(true, true));
    end.set(CallEnd::ClientLost);
    drop(call);
    let is_detached = async || {
        let listed = host
            .client
            .clone()
            .list(ListRequest::default())
            .await
            .unwrap()
            .into_inner();
        listed.processes[0].state() == ProcessState::Detached
    };
    while !is_detached().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(told(&graced).await, answer(true, false));
    let kept = detached(&["true"]);
    host.run(kept.clone()).await.unwrap().events().await;
    exit_of(&host, &kept).await;
    eventually("its process is left", || host.service.processes() == 1).await;
    assert_eq!(told(&kept).await, answer(true, false));
    // The other client did not ask.
    let events = host.run(kept.clone()).await.unwrap().events().await;
    assert!(matches!(events[0].kind, Some(Kind::Exited(_))), "{events:?}");
    // Another command of this id.
    let other = Start {
        argv: vec!["false".into()],
        ..repeat(&kept)
    };
    let refused = host.run(other).await.err().unwrap();
    assert_is(&refused, Code::AlreadyExists, ErrorKind::Conflict);
}
