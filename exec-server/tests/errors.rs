//! Each failure of a start, with its type, and that nothing runs after it.

#[macro_use]
mod support;

use std::os::unix::fs::PermissionsExt as _;

use baton_exec_server::{ExecService, SpawnMethod};
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::run_request::Kind as RequestKind;
use baton_proto::exec::{Ack, Start};
use support::{EPOCH, Host, kind, most, start, variable};
use tonic::Code;

with_each_spawn_method! {
    a_malformed_start_is_invalid,
    a_second_start_on_one_call_ends_it,
    a_command_that_cannot_run_says_why,
    no_message_repeats_the_command,
    a_start_of_another_epoch_is_lost,
    an_id_of_another_command_is_a_conflict_for_its_own_client_alone,
    an_id_whose_start_failed_can_be_tried_again,
    a_full_server_refuses_until_one_has_ended,
    processes_of_one_client_leave_slots_to_another_and_the_refusal_says_what_to_do,
    a_caller_without_a_name_is_unauthenticated,
    a_call_without_a_peer_is_unauthenticated,
}

async fn refused(host: &Host, start: Start) -> (Code, ErrorKind) {
    match host.run(start).await {
        Ok(_) => panic!("started"),
        Err(status) => (status.code(), kind(&status)),
    }
}

async fn a_malformed_start_is_invalid(method: SpawnMethod) {
    let host = Host::start(method).await;
    let with_id = |id: Vec<u8>| Start {
        process_id: id.into(),
        ..start(&["true"])
    };
    let cases = [
        start(&[]),
        start(&["true", "a\0b"]),
        with_id(vec![]),
        with_id(vec![0; 17]),
        Start {
            epoch: vec![1].into(),
            ..start(&["true"])
        },
        Start {
            cwd: "/\0".into(),
            ..start(&["true"])
        },
        Start {
            env: vec![variable("A=B", "")],
            ..start(&["true"])
        },
        Start {
            env: vec![variable("A", "\0")],
            ..start(&["true"])
        },
    ];
    for start in cases {
        assert_eq!(
            refused(&host, start).await,
            (Code::InvalidArgument, ErrorKind::InvalidStart)
        );
    }
    let status = host.send(RequestKind::Ack(Ack { seq: 0 })).await.err().unwrap();
    assert_eq!(
        (status.code(), kind(&status)),
        (Code::InvalidArgument, ErrorKind::InvalidStart)
    );
    assert_eq!(host.service.processes(), 0);
}

async fn a_second_start_on_one_call_ends_it(method: SpawnMethod) {
    let host = Host::start(method).await;
    let call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.requests.request(RequestKind::Start(start(&["true"]))).await;
    assert_eq!(kind(&call.failure().await), ErrorKind::InvalidStart);
    host.idle().await;
}

async fn a_command_that_cannot_run_says_why(method: SpawnMethod) {
    let host = Host::start(method).await;
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let file = |name: &str, content: &str, mode| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let no_format = file("no-format", "words\n", 0o755);
    let no_interpreter = file("no-interpreter", "#!/nowhere/at/all\n", 0o755);

    let not_found = (Code::NotFound, ErrorKind::CommandNotFound);
    for name in [
        "baton-no-such-command",
        "/no/such/command",
        "./no-such-command",
        "",
        "/etc/passwd/x",
    ] {
        assert_eq!(refused(&host, start(&[name])).await, not_found, "{name}");
    }
    let not_executable = (Code::PermissionDenied, ErrorKind::NotExecutable);
    for path in [plain.as_str(), &no_format, &no_interpreter, "/etc"] {
        assert_eq!(refused(&host, start(&[path])).await, not_executable, "{path}");
    }
    let elsewhere = Start {
        env: vec![variable("PATH", folder.to_str().unwrap())],
        ..start(&["plain"])
    };
    assert_eq!(refused(&host, elsewhere).await, not_executable);
    let bad_cwd = (Code::FailedPrecondition, ErrorKind::BadCwd);
    for cwd in ["/no/such/directory", "/etc/passwd"] {
        let start = Start {
            cwd: cwd.into(),
            ..start(&["true"])
        };
        assert_eq!(refused(&host, start).await, bad_cwd, "{cwd}");
    }
    let long = "x".repeat(1 << 18);
    let too_long = refused(&host, start(&["true", &long])).await;
    assert_eq!(too_long, (Code::ResourceExhausted, ErrorKind::ResourceLimit));

    assert_eq!(host.service.processes(), 0);
}

async fn no_message_repeats_the_command(method: SpawnMethod) {
    let host = Host::start(method).await;
    let secret = Start {
        env: vec![variable("SECRET-NAME=", "secret-value")],
        ..start(&["secret-command"])
    };
    let missing = Start {
        cwd: "/secret-directory".into(),
        ..start(&["secret-command"])
    };
    for start in [secret, missing, start(&["secret-command"])] {
        let status = host.run(start).await.err().unwrap();
        assert!(!status.message().to_lowercase().contains("secret"), "{status}");
    }
}

async fn a_start_of_another_epoch_is_lost(method: SpawnMethod) {
    let host = Host::start(method).await;
    let start = Start {
        epoch: vec![8; 16].into(),
        ..start(&["true"])
    };
    assert_eq!(refused(&host, start).await, (Code::Aborted, ErrorKind::Lost));
}

async fn an_id_of_another_command_is_a_conflict_for_its_own_client_alone(method: SpawnMethod) {
    let host = Host::start(method).await;
    let other = start(&["sh", "-c", "read line"]);
    let first = Start {
        stdin: true,
        ..other.clone()
    };
    let call = host.run(first).await.unwrap();
    let conflict = (Code::AlreadyExists, ErrorKind::Conflict);
    assert_eq!(refused(&host, other.clone()).await, conflict);
    host.calls_as(2);
    assert_eq!(host.run(other.clone()).await.unwrap().finish().await.code(), 1);
    host.calls_as(1);
    call.requests.close_stdin(0).await;
    call.finish().await;
    assert_eq!(refused(&host, other).await, conflict);
}

async fn an_id_whose_start_failed_can_be_tried_again(method: SpawnMethod) {
    let host = Host::start(method).await;
    let wrong = start(&["baton-no-such-command"]);
    let right = Start {
        argv: vec!["true".into()],
        ..wrong.clone()
    };
    refused(&host, wrong).await;
    assert_eq!(host.run(right).await.unwrap().finish().await.code(), 0);
}

async fn a_full_server_refuses_until_one_has_ended(method: SpawnMethod) {
    let host = Host::with(ExecService::with(EPOCH, &most(2, method)).unwrap()).await;
    let one = host.run(start(&["sleep", "1000"])).await.unwrap();
    let _two = host.run(start(&["sleep", "1000"])).await.unwrap();
    let full = (Code::ResourceExhausted, ErrorKind::TooManyProcesses);
    assert_eq!(refused(&host, start(&["true"])).await, full);
    drop(one);
    support::eventually("no slot becomes free", || host.service.processes() < 2).await;
    assert_eq!(host.sh("exit 3").await.code(), 3);
}

async fn processes_of_one_client_leave_slots_to_another_and_the_refusal_says_what_to_do(method: SpawnMethod) {
    let host = Host::with(ExecService::with(EPOCH, &most(8, method)).unwrap()).await;
    let mut held = Vec::new();
    let refusal = loop {
        match host.run(start(&["sleep", "1000"])).await {
            Ok(call) => held.push(call),
            Err(status) => break status,
        }
    };
    assert_eq!(held.len(), 6);
    assert_eq!(
        (refusal.code(), kind(&refusal)),
        (Code::ResourceExhausted, ErrorKind::TooManyProcesses)
    );
    let says = refusal.message();
    assert!(
        says.contains("runs 6 processes, its share of the 8") && says.contains("try again"),
        "{says}"
    );
    assert_eq!(refusal.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    host.calls_as(2);
    assert_eq!(host.sh("exit 3").await.code(), 3);
    host.calls_as(1);
    held.truncate(5);
    support::eventually("no slot becomes free", || host.service.processes() < 6).await;
    assert_eq!(host.sh("exit 4").await.code(), 4);
}

async fn a_caller_without_a_name_is_unauthenticated(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.calls_anonymously();
    let status = host.run(start(&["true"])).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
}

async fn a_call_without_a_peer_is_unauthenticated(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.calls_anonymously();
    let Err(status) = host.run(start(&["true"])).await else {
        panic!("it ran")
    };
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(host.service.processes(), 0);
}
