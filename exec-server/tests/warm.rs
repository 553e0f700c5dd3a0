//! The board of warm sessions: hostile states, strangers, replaced publications and slow watchers.

mod support;

use std::sync::Arc;
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::PublicKey;
use baton_exec_server::WarmService;
use baton_proto::limits::{THREAD_ID_MAX, WARM_ERROR_MAX, WARM_HISTORY_MAX, WARM_STATE_MAX};
use baton_proto::warm::{PingRequest, WarmRecord, WarmResult, WarmState, WatchRequest, warm_result};
use baton_rpc::warm::warm_client::WarmClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status, Streaming};

/// Starts a board on loopback. The client of a request is the number in its metadata.
async fn board() -> (WarmService, WarmClient<Channel>) {
    let service = WarmService::default();
    let intercepted = |mut request: Request<()>| {
        let client = request
            .metadata()
            .get("client")
            .map(|number| number.as_bytes()[0]);
        if let Some(client) = client {
            let key = PublicKey::from_bytes([client; 32]);
            let allow = AllowList::only(key, "test", Trust::Continue);
            let peer = allow.find(&key).unwrap().unwrap();
            request.extensions_mut().insert(Arc::new(peer));
        }
        Ok(request)
    };
    let server =
        tonic::service::interceptor::InterceptedService::new(service.clone().into_server(), intercepted);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().serve_with_incoming(server, TcpListenerStream::new(listener)));
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    (service, WarmClient::new(endpoint.connect().await.unwrap()))
}

fn of<T>(client: u8, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let number = char::from(client).to_string().parse().unwrap();
    request.metadata_mut().insert("client", number);
    request
}

fn result(kind: warm_result::Kind) -> Option<WarmResult> {
    Some(WarmResult { kind: Some(kind) })
}

fn state(conversation: &str) -> WarmState {
    let result = result(warm_result::Kind::HitPercent(100));
    WarmState {
        conversation: conversation.into(),
        enabled: true,
        interval_ms: 30_000,
        next_warm_unix_ms: Some(1),
        last_result: result.clone(),
        history: vec![WarmRecord {
            result,
            ..WarmRecord::default()
        }],
        change: 1,
        ..WarmState::default()
    }
}

/// A call of `Publish`.
struct Publishing {
    states: mpsc::Sender<WarmState>,
    call: tokio::task::JoinHandle<Result<(), Status>>,
}

impl Publishing {
    async fn start(board: &WarmClient<Channel>, client: u8, first: WarmState) -> Self {
        let (states, queued) = mpsc::channel(4);
        states.send(first).await.unwrap();
        let mut board = board.clone();
        let call = tokio::spawn(async move {
            board.publish(of(client, ReceiverStream::new(queued))).await?;
            Ok(())
        });
        Self { states, call }
    }

    async fn ended(self) -> Result<(), Status> {
        within(self.call).await.unwrap()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("in time")
}

async fn watch(board: &WarmClient<Channel>, client: u8, conversation: &str) -> Streaming<WarmState> {
    let request = WatchRequest {
        conversation: conversation.into(),
    };
    board
        .clone()
        .watch(of(client, request))
        .await
        .unwrap()
        .into_inner()
}

async fn next(states: &mut Streaming<WarmState>) -> WarmState {
    within(states.message()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_state_is_on_the_board_for_as_long_as_its_call_is_open() {
    let (_, board) = board().await;
    let mut watched = watch(&board, b'1', "").await;
    assert_eq!(next(&mut watched).await, WarmState::default(), "nothing yet");
    let publishing = Publishing::start(&board, b'1', state("a")).await;
    assert_eq!(next(&mut watched).await, state("a"));
    let later = WarmState {
        active: true,
        next_warm_unix_ms: None,
        change: 2,
        ..state("a")
    };
    publishing.states.send(later.clone()).await.unwrap();
    assert_eq!(next(&mut watched).await, later);
    let mut named = watch(&board, b'1', "a").await;
    assert_eq!(next(&mut named).await, later);
    publishing.call.abort();
    let removed = WarmState {
        conversation: "a".into(),
        removed: true,
        ..WarmState::default()
    };
    assert_eq!(next(&mut watched).await, removed);
    assert_eq!(next(&mut named).await, WarmState::default(), "the mark");
    assert_eq!(next(&mut named).await, removed);
}

#[tokio::test]
async fn another_key_neither_sees_nor_replaces_a_conversation() {
    let (_, board) = board().await;
    let publishing = Publishing::start(&board, b'1', state("a")).await;
    let mut own = watch(&board, b'1', "a").await;
    while next(&mut own).await.conversation != "a" {}
    let mut strange = watch(&board, b'2', "").await;
    let mut named = watch(&board, b'2', "a").await;
    assert_eq!(next(&mut strange).await, WarmState::default());
    assert_eq!(next(&mut named).await, WarmState::default());
    let other = Publishing::start(&board, b'2', state("a")).await;
    assert_eq!(next(&mut strange).await, state("a"));
    assert!(!publishing.call.is_finished());
    drop(other.states);
    within(other.call).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_later_publication_of_a_conversation_ends_the_earlier_one() {
    let (_, board) = board().await;
    let first = Publishing::start(&board, b'1', state("a")).await;
    let mut watched = watch(&board, b'1', "").await;
    while next(&mut watched).await.conversation != "a" {}
    let _second = Publishing::start(&board, b'1', state("a")).await;
    let replaced = first.ended().await.unwrap_err();
    assert_eq!(replaced.code(), Code::Aborted, "{replaced}");
    assert!(replaced.message().contains("another id"), "{replaced}");
}

#[tokio::test]
async fn invalid_states_are_the_fault_of_their_client() {
    let (_, board) = board().await;
    let long = "e".repeat(WARM_ERROR_MAX + 1);
    let bad = [
        state(""),
        state("a\tb"),
        state(&"a".repeat(THREAD_ID_MAX + 1)),
        WarmState {
            interval_ms: 99,
            ..state("a")
        },
        WarmState {
            interval_ms: u64::MAX,
            ..state("a")
        },
        WarmState {
            active: true,
            ..state("a")
        },
        WarmState {
            enabled: false,
            ..state("a")
        },
        WarmState {
            removed: true,
            ..state("a")
        },
        WarmState {
            missed: 1,
            ..state("a")
        },
        WarmState {
            last_result: result(warm_result::Kind::HitPercent(101)),
            ..state("a")
        },
        WarmState {
            last_result: result(warm_result::Kind::Error(long)),
            ..state("a")
        },
        WarmState {
            last_result: result(warm_result::Kind::Error(String::new())),
            ..state("a")
        },
        WarmState {
            last_result: Some(WarmResult { kind: None }),
            ..state("a")
        },
        WarmState {
            history: vec![WarmRecord::default()],
            ..state("a")
        },
        WarmState {
            history: vec![WarmRecord::default(); WARM_HISTORY_MAX + 1],
            ..state("a")
        },
    ];
    for bad in bad {
        let shown = format!("{bad:?}");
        let refused = Publishing::start(&board, b'1', bad.clone()).await.ended().await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{shown}");
        // As a later state it is refused too.
        let publishing = Publishing::start(&board, b'1', state("a")).await;
        publishing.states.send(bad).await.unwrap();
        let refused = publishing.ended().await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{shown}");
    }
    let publishing = Publishing::start(&board, b'1', state("a")).await;
    publishing.states.send(state("b")).await.unwrap();
    let refused = publishing.ended().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let mut watched = watch(&board, b'1', "").await;
    assert_eq!(next(&mut watched).await, WarmState::default(), "nothing is left");
}

#[tokio::test]
async fn strangers_empty_calls_and_messages_that_are_too_long_are_refused() {
    let (_, board) = board().await;
    let code = |result: Result<(), Status>| result.unwrap_err().code();
    let ping = board.clone().ping(PingRequest {}).await;
    assert_eq!(code(ping.map(drop)), Code::Unauthenticated);
    let watch = board.clone().watch(WatchRequest::default()).await;
    assert_eq!(code(watch.map(drop)), Code::Unauthenticated);
    let publish = board.clone().publish(tokio_stream::once(state("a"))).await;
    assert_eq!(code(publish.map(drop)), Code::Unauthenticated);
    board.clone().ping(of(b'1', PingRequest {})).await.unwrap();
    let empty = board.clone().publish(of(b'1', tokio_stream::empty())).await;
    assert_eq!(code(empty.map(drop)), Code::InvalidArgument);
    let request = WatchRequest {
        conversation: "a\n".into(),
    };
    let control = board.clone().watch(of(b'1', request)).await;
    assert_eq!(code(control.map(drop)), Code::InvalidArgument);
    let huge = state(&"a".repeat(WARM_STATE_MAX));
    let huge = board.clone().publish(of(b'1', tokio_stream::once(huge))).await;
    assert_eq!(code(huge.map(drop)), Code::OutOfRange);
}

#[tokio::test]
async fn closing_the_board_ends_its_calls() {
    let (service, board) = board().await;
    let mut watched = watch(&board, b'1', "").await;
    let publishing = Publishing::start(&board, b'1', state("a")).await;
    while next(&mut watched).await.conversation != "a" {}
    service.close();
    assert_eq!(publishing.ended().await.unwrap_err().code(), Code::Unavailable);
    let ended = loop {
        // The removal may come first.
        match within(watched.message()).await {
            Ok(state) => assert!(state.unwrap().removed),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
}
