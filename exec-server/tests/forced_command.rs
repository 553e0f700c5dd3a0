//! A client with a forced command: what it asks for does not run.

#[macro_use]
mod support;

use std::fs;

use baton_exec_server::SpawnMethod;
use baton_exec_server::limits::ORIGINAL_COMMAND_BYTES;
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Attach, Start};
use baton_trace::w3c::TraceContext;
use support::{Host, kind, start, variable};
use tempfile::NamedTempFile;
use tonic::Code;

with_each_spawn_method! {
    a_forced_command_runs_with_none_of_the_clients_variables_and_with_its_trace,
    a_repeated_start_of_a_forced_command_runs_nothing,
    a_key_that_gains_a_forced_command_keeps_the_termination_of_its_start,
    a_key_that_gains_a_forced_command_does_not_attach_to_its_earlier_processes,
}

async fn a_forced_command_runs_with_none_of_the_clients_variables_and_with_its_trace(method: SpawnMethod) {
    let host = Host::start(method).await;
    let context = TraceContext::new_root(true);
    host.traced(context.clone());
    host.calls_with("command=\"env; exit 3\"");
    let asked = Start {
        env: vec![
            variable("PATH", "/of/the/client"),
            variable("BASH_ENV", "/of/the/client"),
            variable("BATON_ORIGINAL_COMMAND", "of the client"),
            variable("TRACEPARENT", "of the client"),
        ],
        clear_env: true,
        ..start(&["no-such-program", "a b", ""])
    };
    let ran = host.run(asked).await.unwrap().finish().await;
    assert_eq!(ran.code(), 3);
    assert!(!ran.text().contains("of/the/client") && !ran.text().contains("of the client"));
    let lines: Vec<_> = ran.text().lines().collect();
    assert!(
        lines.contains(&"BATON_ORIGINAL_COMMAND=no-such-program 'a b' ''"),
        "{lines:?}"
    );
    let trace = format!("TRACEPARENT=00-{}-", context.trace_id);
    assert!(lines.iter().any(|line| line.starts_with(&trace)), "{lines:?}");
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    assert!(lines.contains(&&*path), "{lines:?}");
}

/// An option that leaves a line in a file each time its command runs.
fn counting() -> (NamedTempFile, String) {
    let file = NamedTempFile::new().unwrap();
    let option = format!("command=\"echo ran >>{}; exit 4\"", file.path().display());
    (file, option)
}

async fn a_repeated_start_of_a_forced_command_runs_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let (file, option) = counting();
    host.calls_with(&option);
    let asked = start(&["asked"]);
    assert_eq!(host.run(asked.clone()).await.unwrap().finish().await.code(), 4);
    let again = host.run(asked.clone()).await.unwrap().events().await;
    assert!(matches!(again[0].kind, Some(Kind::Exited(_))), "{again:?}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "ran\n");
    // The arguments that were asked for still distinguish starts.
    let other = Start {
        argv: vec!["other".into()],
        ..asked
    };
    let conflict = host.run(other).await.map(drop).unwrap_err();
    assert_eq!(kind(&conflict), ErrorKind::Conflict);
}

async fn a_key_that_gains_a_forced_command_keeps_the_termination_of_its_start(method: SpawnMethod) {
    let host = Host::start(method).await;
    let asked = start(&["sh", "-c", "exit 5"]);
    assert_eq!(host.run(asked.clone()).await.unwrap().finish().await.code(), 5);
    let (file, option) = counting();
    host.calls_with(&option);
    let again = host.run(asked).await.unwrap().events().await;
    assert_eq!(again.len(), 2, "{again:?}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "", "nothing ran");
}

async fn a_key_that_gains_a_forced_command_does_not_attach_to_its_earlier_processes(method: SpawnMethod) {
    let host = Host::start(method).await;
    let shell = Start {
        grace_ms: 60_000,
        ..start(&["sleep", "1000"])
    };
    let mut call = host.run(shell.clone()).await.unwrap();
    call.pid().await;
    let attach = Attach {
        process_id: shell.process_id,
        ..Attach::default()
    };
    host.calls_with("command=\"true\"");
    for watch in [false, true] {
        let attach = Attach {
            watch,
            ..attach.clone()
        };
        let refused = host.attach(attach).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert_eq!(host.service.processes(), 1);
}

#[tokio::test]
async fn arguments_that_a_forced_command_cannot_be_told_are_an_invalid_start() {
    let host = Host::start(SpawnMethod::Auto).await;
    let long = "a".repeat(ORIGINAL_COMMAND_BYTES + 1);
    let asked = start(&["echo", &long]);
    host.calls_with("command=\"true\"");
    let refused = host.run(asked.clone()).await.map(drop).unwrap_err();
    assert_eq!(kind(&refused), ErrorKind::InvalidStart);
    // Without the option they are passed on.
    host.calls_as(1);
    assert_eq!(host.run(asked).await.unwrap().finish().await.code(), 0);
}
