//! However one side ends, the other side is notified, and the relay keeps nothing.

use std::time::Duration;

use baton_proto::relay::Frame;
use baton_relay::{Limits, MetricsSnapshot};
use baton_support::frames;
use bytes::Bytes;
use tokio::time::timeout;
use tonic::Code;

use crate::support::{PeerConnection, TestNetwork, assert_status, new_session, within_timeout};

fn none_open(counted: &MetricsSnapshot) -> bool {
    counted.sessions_open == 0
}

#[tokio::test]
async fn a_client_whose_connection_breaks() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    client.writer.send_noise(b"the last frame").await;
    assert_eq!(&server.reader.noise().await[..], b"the last frame");
    network.client.cut();
    assert_status(&server.reader.end().await, Code::Unavailable, "peer disconnected");
    network.relay.counts("the session's end", none_open).await;
}

#[tokio::test]
async fn an_exec_server_whose_connection_breaks() {
    let mut network = TestNetwork::new().await;
    let (mut client, _server) = network.session().await;
    network.accepting.cut();
    assert_status(&client.reader.end().await, Code::Unavailable, "peer disconnected");
    network.relay.counts("the session's end", none_open).await;
}

#[tokio::test]
async fn a_client_that_resets_its_stream_only() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    let (mut other_client, mut other_server) = network.session().await;
    drop(client);
    assert_status(&server.reader.end().await, Code::Unavailable, "peer disconnected");
    network
        .relay
        .counts("one session's end", |s| s.sessions_open == 1)
        .await;
    other_client.writer.send_noise(b"goes on").await;
    assert_eq!(&other_server.reader.noise().await[..], b"goes on");
    other_server.writer.send_noise(b"both ways").await;
    assert_eq!(&other_client.reader.noise().await[..], b"both ways");
}

#[tokio::test]
async fn an_exec_server_that_resets_its_stream_only() {
    let mut network = TestNetwork::new().await;
    let (mut client, server) = network.session().await;
    drop(server);
    assert_status(&client.reader.end().await, Code::Unavailable, "peer disconnected");
    network.relay.counts("the session's end", none_open).await;
}

#[tokio::test]
async fn a_side_that_vanishes_while_the_other_is_stalled() {
    let mut network = TestNetwork::new().await;
    let (client, server) = network.session().await;
    let frame: Bytes = frames::grpc(&Frame {
        noise: vec![0; 60_000].into(),
        ..Frame::default()
    })
    .into();
    let filled = async { while client.writer.send_raw(frame.clone()).await {} };
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), filled).await;
    // The writer's queue in the relay is full and its window is exhausted when its connection breaks.
    network.client.cut();
    drop(client);
    drop(server);
    network.relay.counts("the session's end", none_open).await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_resets_the_session_and_says_so_to_both() {
    let mut network = TestNetwork::new().await;
    let (mut client, mut server) = network.session().await;
    client.writer.send_noise(b"good").await;
    client.writer.send_raw(vec![0, 0, 1, 0, 64]).await;
    assert_eq!(&server.reader.noise().await[..], b"good");
    assert_status(
        &server.reader.end().await,
        Code::InvalidArgument,
        "a frame of 65600 bytes is longer",
    );
    assert_status(
        &client.reader.end().await,
        Code::InvalidArgument,
        "a frame of 65600 bytes is longer",
    );
    network.relay.counts("the session's end", none_open).await;
    assert_eq!(network.relay.metrics.snapshot().sessions_reset, 1);
}

#[tokio::test]
async fn a_compressed_or_truncated_frame_resets_the_session() {
    let mut network = TestNetwork::new().await;
    let (mut client, mut server) = network.session().await;
    server.writer.send_raw(vec![1, 0, 0, 0, 1, 0]).await;
    assert_status(&client.reader.end().await, Code::InvalidArgument, "compressed");
    assert_status(&server.reader.end().await, Code::InvalidArgument, "compressed");

    let (mut client, mut server) = network.session().await;
    server.writer.send_raw(vec![0, 0, 0, 0, 9, 1]).await;
    server.writer.end();
    assert_status(
        &client.reader.end().await,
        Code::InvalidArgument,
        "ended inside a frame",
    );
    assert_status(
        &server.reader.end().await,
        Code::InvalidArgument,
        "ended inside a frame",
    );
    network.relay.counts("the sessions' end", none_open).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_keeps_no_place_of_an_exec_server_that_has_left() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_exec_server: 1,
        sessions_per_connection: 1,
        ..Limits::default()
    })
    .await;
    // This client neither reads nor disconnects: the relay keeps its frames.
    network.client = PeerConnection::with_window(&network.relay, 0).await;
    let (client, server) = network.session().await;
    server.writer.send_noise(b"what an unlisted client is told").await;
    network
        .relay
        .counts("the frame in the relay", |s| s.to_client.frames == 1)
        .await;
    drop(server);
    let other = PeerConnection::connect(&network.relay).await;
    let (dial, incoming) = within_timeout("a session slot of the exec-server", async {
        loop {
            let dial = other.dial(network.exec_server.id, new_session());
            if let Ok(incoming) = timeout(Duration::from_millis(50), network.exec_server.incoming()).await {
                break (dial, incoming);
            }
            assert_eq!(dial.refused().await.code(), Code::ResourceExhausted);
        }
    })
    .await;
    let _server = network
        .accepting
        .accept(network.exec_server.id, &incoming)
        .answered()
        .await;
    let _client = dial.answered().await;
    assert_eq!(network.relay.metrics.snapshot().sessions_open, 2);
    drop(client);
}
