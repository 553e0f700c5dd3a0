//! Stdin by offset, and acknowledgements.

#[macro_use]
mod support;

use baton_exec_server::SpawnMethod;
use baton_proto::exec::Start;
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::run_request::Kind as RequestKind;
use support::{Call, Host, eventually, group_is_gone, kind, start};
use tonic::Code;

with_each_spawn_method! {
    cat_gives_back_what_it_was_given,
    without_stdin_the_child_reads_end_of_file_at_once,
    a_child_that_stops_reading_is_no_error,
    a_child_that_never_reads_stdin_still_delivers_all_its_output,
    stdin_out_of_order_ends_the_call_and_the_process,
    stdin_that_was_not_requested_is_refused,
    requests_that_end_without_a_close_fail_the_call,
    a_child_whose_stdin_was_cut_off_is_killed_before_it_sees_an_end,
    acknowledgements_are_checked_and_change_nothing,
}

fn with_stdin(argv: &[&str]) -> Start {
    Start {
        stdin: true,
        ..start(argv)
    }
}

async fn cat_gives_back_what_it_was_given(method: SpawnMethod) {
    let host = Host::start(method).await;
    let call = host.run(with_stdin(&["cat"])).await.unwrap();
    let chunk: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let sending = async {
        for turn in 0..50 {
            call.requests.stdin(turn * 100_000, chunk.clone()).await;
        }
        call.requests.close_stdin(5_000_000).await;
    };
    let events = call.events;
    let requests = call.requests.clone();
    let receiving = Call { requests, events }.finish();
    let ((), ran) = tokio::join!(sending, receiving);
    assert_eq!(ran.stdout.len(), 5_000_000);
    assert!(ran.stdout.chunks(100_000).all(|part| part == chunk));
    assert_eq!(ran.code(), 0);
}

async fn without_stdin_the_child_reads_end_of_file_at_once(method: SpawnMethod) {
    let host = Host::start(method).await;
    let ran = host.run(start(&["cat"])).await.unwrap().finish().await;
    assert_eq!((ran.text(), ran.code()), ("", 0));
}

async fn a_child_that_stops_reading_is_no_error(method: SpawnMethod) {
    let host = Host::start(method).await;
    let call = host.run(with_stdin(&["head", "-c", "3"])).await.unwrap();
    for turn in 0..20 {
        call.requests.stdin(turn * 100_000, vec![b'x'; 100_000]).await;
    }
    call.requests.close_stdin(2_000_000).await;
    let ran = call.finish().await;
    assert_eq!((ran.text(), ran.code()), ("xxx", 0));
}

/// Its output does not wait for its unread stdin or the acknowledgements behind it.
async fn a_child_that_never_reads_stdin_still_delivers_all_its_output(method: SpawnMethod) {
    let host = Host::start(method).await;
    let script = "head -c 20000000 /dev/zero; echo >&2 done";
    let call = host.run(with_stdin(&["sh", "-c", script])).await.unwrap();
    let requests = call.requests.clone();
    let flood = tokio::spawn(async move {
        for turn in 0..20 {
            requests.stdin(turn * 1_000_000, vec![0; 1_000_000]).await;
            requests.ack(1).await;
        }
    });
    let ran = call.finish().await;
    assert_eq!(ran.stdout.len(), 20_000_000);
    assert_eq!((&ran.stderr[..], ran.code()), (&b"done\n"[..], 0));
    flood.await.unwrap();
}

async fn stdin_out_of_order_ends_the_call_and_the_process(method: SpawnMethod) {
    let host = Host::start(method).await;
    let cases: [&[RequestKind]; 5] = [
        &[data(1, "x")],
        &[data(0, "xx"), data(1, "x")],
        &[data(0, "xx"), data(3, "x")],
        &[data(0, "xx"), close(1)],
        &[close(0), data(0, "x")],
    ];
    for requests in cases {
        // Reads nothing and ends only when killed.
        let mut call = host.run(with_stdin(&["sleep", "1000"])).await.unwrap();
        let pid = call.pid().await;
        for request in requests {
            call.requests.request(request.clone()).await;
        }
        let status = call.failure().await;
        assert_eq!(
            (status.code(), kind(&status)),
            (Code::InvalidArgument, ErrorKind::InvalidStdin),
            "{requests:?}"
        );
        eventually("the process is still there", || group_is_gone(pid)).await;
    }
    host.idle().await;
}

async fn stdin_that_was_not_requested_is_refused(method: SpawnMethod) {
    let host = Host::start(method).await;
    let call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.requests.stdin(0, "x").await;
    assert_eq!(kind(&call.failure().await), ErrorKind::InvalidStdin);
}

/// A copy that was cut off must not look complete to the child.
async fn requests_that_end_without_a_close_fail_the_call(method: SpawnMethod) {
    let host = Host::start(method).await;
    let Call { requests, mut events } = host.run(with_stdin(&["cat"])).await.unwrap();
    requests.stdin(0, "half").await;
    drop(requests);
    let status = loop {
        match events.message().await {
            Ok(Some(event)) => assert!(!matches!(event.kind, Some(Kind::Exited(_)))),
            Ok(None) => panic!("the call ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(kind(&status), ErrorKind::InvalidStdin);
}

/// Between the end of file and the signal it could process the incomplete input.
async fn a_child_whose_stdin_was_cut_off_is_killed_before_it_sees_an_end(method: SpawnMethod) {
    let host = Host::start(method).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("complete");
    let script = format!("trap '' TERM; echo ready; cat; echo done >{}", file.display());
    for cut in [Cut::Requests, Cut::Call] {
        let mut call = host.run(with_stdin(&["sh", "-c", &script])).await.unwrap();
        call.pid().await;
        call.next().await.unwrap();
        call.requests.stdin(0, "half").await;
        assert!(
            matches!(call.next().await, Ok(Some(Kind::Output(_)))),
            "cat reads"
        );
        match cut {
            Cut::Requests => {
                let Call { requests, events } = call;
                drop(requests);
                host.idle().await;
                drop(events);
            }
            Cut::Call => drop(call),
        }
        host.idle().await;
        assert!(!file.exists(), "{cut:?}");
    }
}

#[derive(Debug)]
enum Cut {
    Requests,
    Call,
}

async fn acknowledgements_are_checked_and_change_nothing(method: SpawnMethod) {
    let host = Host::start(method).await;
    let mut call = host.run(start(&["sleep", "1000"])).await.unwrap();
    call.pid().await;
    call.requests.ack(1).await;
    call.requests.ack(0).await;
    call.requests.ack(2).await;
    let status = call.failure().await;
    assert_eq!(
        (status.code(), kind(&status)),
        (Code::InvalidArgument, ErrorKind::InvalidAck)
    );
    assert!(status.message().contains("2 of 1"), "{status}");
}

fn data(offset: u64, data: &'static str) -> RequestKind {
    RequestKind::Stdin(baton_proto::exec::Stdin {
        offset,
        data: data.into(),
    })
}

fn close(offset: u64) -> RequestKind {
    RequestKind::StdinClose(baton_proto::exec::StdinClose { offset })
}
