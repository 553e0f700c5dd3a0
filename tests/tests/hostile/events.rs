//! An exec-server with the right key that reports false events of a command. The client reports a protocol error,
//! unless the events are possible for a real command.

use baton_core_client::{Command, RunError};
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Closed, Exited, Output, ProcessEvent, Signaled, Started, exited};
use baton_support::scripted_exec::ScriptedExec;

use crate::testbed::with_exec_server;

fn started() -> Kind {
    Kind::Started(Started {
        pid: 1,
        ..Started::default()
    })
}

fn output(stream: i32, len: usize) -> Kind {
    Kind::Output(Output {
        stream,
        data: vec![b'x'; len].into(),
    })
}

fn exited(status: Option<exited::Status>) -> Kind {
    Kind::Exited(Exited {
        status,
        ..Exited::default()
    })
}

fn code(code: i32) -> Kind {
    exited(Some(exited::Status::Code(code)))
}

fn signal(signal: i32) -> Kind {
    exited(Some(exited::Status::Signaled(Signaled {
        signal,
        core_dumped: false,
    })))
}

fn closed(stdout_bytes: u64, stderr_bytes: u64) -> Kind {
    Kind::Closed(Closed {
        truncated: false,
        stdout_bytes,
        stderr_bytes,
        family: None,
        survivors: 0,
    })
}

/// Events with the right `seq`.
fn numbered(kinds: Vec<Kind>) -> Vec<ProcessEvent> {
    let event = |(seq, kind)| ProcessEvent {
        seq,
        kind: Some(kind),
    };
    (1..).zip(kinds).map(event).collect()
}

/// Events with these values of `seq`.
fn with_seq(kinds: Vec<Kind>, numbers: &[u64]) -> Vec<ProcessEvent> {
    let mut events = numbered(kinds);
    for (event, seq) in events.iter_mut().zip(numbers) {
        event.seq = *seq;
    }
    events
}

/// The result of a client that runs a command and receives these events.
async fn run(events: Vec<ProcessEvent>) -> Result<baton_core_client::Output, RunError> {
    let service = ScriptedExec::events(events);
    with_exec_server(service, async |client| {
        client.run(Command::new("true").max_output(1_000)).await
    })
    .await
}

#[tokio::test]
async fn events_that_cannot_be_are_named() {
    let all = || vec![started(), output(1, 3), code(0), closed(3, 0)];
    let cases: Vec<(&str, Vec<ProcessEvent>)> = vec![
        ("no events", vec![]),
        ("no exit", numbered(vec![started()])),
        ("no closed", numbered(vec![started(), code(0)])),
        ("closed before it exited", numbered(vec![started(), closed(0, 0)])),
        ("never started", numbered(vec![code(0), closed(0, 0)])),
        (
            "output before it started",
            numbered(vec![output(1, 1), started(), code(0), closed(1, 0)]),
        ),
        (
            "started twice",
            numbered(vec![started(), started(), code(0), closed(0, 0)]),
        ),
        (
            "exited twice",
            numbered(vec![started(), code(0), code(1), closed(0, 0)]),
        ),
        (
            "output after closed",
            numbered(vec![started(), code(0), closed(0, 0), output(1, 1)]),
        ),
        (
            "an exit without a status",
            numbered(vec![started(), exited(None), closed(0, 0)]),
        ),
        (
            "a code that is 0 modulo 256",
            numbered(vec![started(), code(256), closed(0, 0)]),
        ),
        (
            "a negative code",
            numbered(vec![started(), code(i32::MIN), closed(0, 0)]),
        ),
        ("no signal", numbered(vec![started(), signal(0), closed(0, 0)])),
        (
            "an unknown signal",
            numbered(vec![started(), signal(i32::MAX), closed(0, 0)]),
        ),
        (
            "output of no stream",
            numbered(vec![started(), output(0, 1), code(0), closed(0, 0)]),
        ),
        (
            "output of an unknown stream",
            numbered(vec![started(), output(7, 1), code(0), closed(0, 0)]),
        ),
        (
            "fewer bytes than were received",
            numbered(vec![started(), output(1, 3), code(0), closed(2, 0)]),
        ),
        (
            "more bytes than were received",
            numbered(vec![started(), output(2, 3), code(0), closed(0, u64::MAX)]),
        ),
        ("an event left out", with_seq(all(), &[1, 2, 4, 5])),
        ("the first left out", with_seq(all(), &[2, 3, 4, 5])),
        ("the same number twice", with_seq(all(), &[1, 2, 2, 3])),
        ("numbers that overflow", with_seq(all(), &[u64::MAX, 0, 1, 2])),
        ("an event without a kind", vec![ProcessEvent::default()]),
    ];
    for (name, events) in cases {
        let ran = run(events).await;
        assert!(matches!(ran, Err(RunError::Protocol(_))), "{name}: {ran:?}");
    }
    let honest = run(numbered(all())).await.unwrap();
    assert_eq!(honest.stdout, b"xxx");
    let endless = (0..1_000).map(|_| output(1, 100));
    let endless = run(numbered([started()].into_iter().chain(endless).collect())).await;
    assert!(
        matches!(endless, Err(RunError::TooMuchOutput(1_000))),
        "{endless:?}"
    );
}
