//! gRPC as its callers and handlers see it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Barrier, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::support::service::{Mounted, answer, collect, message};
use crate::support::{Stack, within};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Adds `/test/Sum`, which concatenates the messages of its request.
fn sum(service: Mounted) -> Mounted {
    service.on("/test/Sum", |request| async {
        let mut sum = BytesMut::new();
        for message in collect(request.into_inner()).await? {
            sum.extend_from_slice(&message);
        }
        Ok(message(sum))
    })
}

#[tokio::test]
async fn every_kind_of_call_works() {
    let service = sum(Mounted::echo()).on("/test/Count", |request| async {
        let to = collect(request.into_inner()).await?[0][0];
        Ok(answer(stream::iter((0..to).map(|n| Ok(Bytes::from(vec![n]))))))
    });
    let stack = Stack::start(service).await;
    let caller = stack.caller();
    assert_eq!(within(caller.echo("hello")).await.unwrap(), "hello");

    let words = stream::iter([bytes("a"), bytes("b"), bytes("c")]);
    let sum = within(caller.client_streaming("/test/Sum", words)).await.unwrap();
    assert_eq!(sum.into_inner(), "abc");

    let count = within(caller.server_streaming("/test/Count", Request::new(Bytes::from_static(&[200]))));
    let numbers = within(collect(count.await.unwrap().into_inner())).await.unwrap();
    assert_eq!(numbers.concat(), (0..200).collect::<Vec<u8>>());

    // Bidirectional: each answer is awaited before the next request is sent.
    let (ask, questions) = mpsc::channel(1);
    let mut answers = within(caller.streaming("/test/Echo", ReceiverStream::new(questions)))
        .await
        .unwrap()
        .into_inner();
    for word in ["x", "y", "z"] {
        ask.send(bytes(word)).await.unwrap();
        assert_eq!(within(answers.next()).await.unwrap().unwrap(), word);
    }
    drop(ask);
    assert!(within(answers.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_streams_are_open_at_once_in_one_session() {
    let all_here = Arc::new(Barrier::new(64));
    let service = Mounted::default().on("/test/Meet", move |request| {
        let all_here = all_here.clone();
        async move {
            all_here.wait().await;
            Ok(answer(request.into_inner()))
        }
    });
    let stack = Stack::start(service).await;
    let caller = stack.caller();
    let calls = (0..64u8).map(|n| {
        let message = Bytes::from(vec![n; 1000]);
        let caller = caller.clone();
        async move {
            let response = caller.unary("/test/Meet", Request::new(message.clone())).await?;
            assert_eq!(response.into_inner(), message);
            Ok::<_, Status>(())
        }
    });
    within(try_join_all(calls)).await.unwrap();
    assert_eq!(stack.relay.metrics.snapshot().sessions_total, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_limit_wait_for_their_turn() {
    let stack = Stack::start(Mounted::echo()).await;
    let caller = stack.caller();
    let calls = (0..3 * baton_proto::limits::MAX_STREAMS).map(|_| caller.echo("again"));
    within(try_join_all(calls)).await.unwrap();
}

#[tokio::test]
async fn three_mebibytes_pass_both_ways() {
    let stack = Stack::start(sum(Mounted::echo())).await;
    let big: Bytes = (0..3u32 << 20).map(|i| (i % 251) as u8).collect();
    let back = within(stack.caller().unary("/test/Echo", Request::new(big.clone()))).await;
    assert!(back.unwrap().into_inner() == big);
    let parts = stream::iter([big.slice(..1 << 20), big.slice(1 << 20..)]);
    let sum = within(stack.caller().client_streaming("/test/Sum", parts)).await;
    assert!(sum.unwrap().into_inner() == big);
}

#[tokio::test]
async fn metadata_arrives_whole_in_both_directions() {
    let stack = Stack::start(Mounted::echo()).await;
    let mut request = Request::new(bytes("x"));
    let binary = MetadataValue::from_bytes(&[0, 255, 10, 13, 128]);
    let metadata = request.metadata_mut();
    metadata.append("word", "first".parse().unwrap());
    metadata.append("word", "second".parse().unwrap());
    metadata.append_bin("blob-bin", binary.clone());
    metadata.append_bin("blob-bin", MetadataValue::from_bytes(b""));
    let response = within(stack.caller().unary("/test/Echo", request)).await.unwrap();
    let back = response.metadata();
    let words: Vec<_> = back.get_all("word").iter().collect();
    assert_eq!(words, ["first", "second"]);
    let blobs: Vec<_> = back.get_all_bin("blob-bin").iter().collect();
    assert_eq!(blobs, [binary, MetadataValue::from_bytes(b"")]);
}

#[tokio::test]
async fn an_error_arrives_with_its_code_details_and_metadata() {
    let service = Mounted::default()
        .on("/test/Fail", |_| async { Err(failure()) })
        .on("/test/FailLate", |_| async {
            Ok(answer(stream::iter([Ok(bytes("one")), Err(failure())])))
        });
    let stack = Stack::start(service).await;
    let check = |status: Status| {
        assert_eq!(
            (status.code(), status.message()),
            (Code::DataLoss, "lost: ünïcode")
        );
        assert_eq!(status.details(), [1, 0, 255]);
        assert_eq!(status.metadata().get("why").unwrap(), "because");
    };
    check(
        within(stack.caller().unary("/test/Fail", Request::new(bytes(""))))
            .await
            .unwrap_err(),
    );
    let late = within(
        stack
            .caller()
            .server_streaming("/test/FailLate", Request::new(bytes(""))),
    )
    .await;
    let mut late = late.unwrap().into_inner();
    assert_eq!(within(late.next()).await.unwrap().unwrap(), "one");
    check(within(late.next()).await.unwrap().unwrap_err());
    let unknown = within(stack.caller().unary("/test/Nothing", Request::new(bytes("")))).await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert_eq!(unknown.message(), "this exec-server has no method /test/Nothing");
}

fn failure() -> Status {
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert("why", "because".parse().unwrap());
    let details = Bytes::from_static(&[1, 0, 255]);
    Status::with_details_and_metadata(Code::DataLoss, "lost: ünïcode", details, metadata)
}

#[tokio::test]
async fn metadata_beyond_the_limit_fails_only_its_own_call() {
    let service = Mounted::echo().on("/test/Chatty", |_| async {
        let mut response = message("");
        let long = "x".repeat(baton_proto::limits::HEAD_MAX);
        response.metadata_mut().insert("long", long.parse().unwrap());
        Ok(response)
    });
    let stack = Stack::start(service).await;
    let mut request = Request::new(bytes("x"));
    let long = "x".repeat(baton_proto::limits::HEAD_MAX);
    request.metadata_mut().insert("long", long.parse().unwrap());
    let refused = within(stack.caller().unary("/test/Echo", request))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let refused = within(stack.caller().unary("/test/Chatty", Request::new(bytes(""))))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(
        within(stack.caller().echo("still here")).await.unwrap(),
        "still here"
    );
}

#[tokio::test]
async fn a_handler_that_panics_fails_only_its_own_call() {
    let service = Mounted::echo().on("/test/Panic", |_| async { panic!("a handler's bug") });
    let stack = Stack::start(service).await;
    let failed = within(stack.caller().unary("/test/Panic", Request::new(bytes(""))))
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    assert_eq!(
        within(stack.caller().echo("still here")).await.unwrap(),
        "still here"
    );
    assert_eq!(stack.relay.metrics.snapshot().sessions_total, 1);
}
