//! A stalled reader: bounded memory, no loss, no effect on other sessions.

use std::time::Duration;

use baton_proto::relay::Frame;
use baton_relay::{Limits, MetricsSnapshot};
use baton_support::frames;
use bytes::Bytes;
use tokio::time::timeout;
use tonic::Code;

use crate::support::{PeerConnection, SplicedStream, TestNetwork, assert_status, new_session};

/// Long enough for loopback to transfer everything that has room.
const STALL_TIME: Duration = Duration::from_millis(500);

const FRAME: usize = 60_000;

/// Writes numbered frames until the stream blocks; returns their number.
async fn fill(side: &SplicedStream) -> u32 {
    let mut count = 0;
    while let Ok(taken) = timeout(STALL_TIME, side.writer.send_raw(numbered(count))).await {
        assert!(taken, "the stream ended");
        count += 1;
        assert!(count < 1_000, "nothing stops the writer");
    }
    count
}

fn numbered(number: u32) -> Bytes {
    let mut noise = vec![0; FRAME];
    noise[..4].copy_from_slice(&number.to_be_bytes());
    frames::grpc(&Frame {
        noise: noise.into(),
        ..Frame::default()
    })
    .into()
}

#[tokio::test]
async fn a_stalled_reader_stops_the_writer_within_the_stated_bound_and_loses_nothing() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    let count = fill(&client).await;
    // The relay's 6 MiB, and the buffers of the two test peers: the reader's window (4 MiB), the writer's send buffer
    // (1 MiB).
    let held = count as usize * FRAME;
    assert!(held < 11 * 1024 * 1024 + 2 * FRAME, "{held} bytes are held");
    assert!(held > 1024 * 1024, "{held} bytes are held");

    for number in 0..count {
        let frame = server.reader.next().await.unwrap();
        assert_eq!(frame.noise[..4], number.to_be_bytes());
    }
    assert!(client.writer.send_noise(b"flows again").await);
    loop {
        // The send that timed out may have left one more numbered frame.
        if &server.reader.noise().await[..] == b"flows again" {
            break;
        }
    }
}

#[tokio::test]
async fn a_flood_of_empty_frames_meets_the_same_bound() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    let empty: Bytes = frames::grpc(&Frame::default()).repeat(10_000).into();
    let mut sent = 0;
    // The queue holds 2,048 of them; then the window is no longer returned, as for any other bytes.
    while let Ok(true) = timeout(STALL_TIME, client.writer.send_raw(empty.clone())).await {
        sent += 1;
        assert!(sent < 150, "{sent} chunks of 50,000 bytes were taken");
    }
    for _ in 0..sent * 10_000 {
        assert!(server.reader.noise().await.is_empty());
    }
}

#[tokio::test]
async fn stalled_sessions_do_not_stop_another_on_the_same_connections() {
    let mut network = TestNetwork::new().await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        stalled.push(network.session().await);
    }
    let (mut client, mut server) = network.session().await;
    for (stalled_client, stalled_server) in &stalled {
        tokio::join!(fill(stalled_client), fill(stalled_server));
    }
    for _ in 0..100 {
        client.writer.send_noise(&[1; FRAME]).await;
        assert_eq!(server.reader.noise().await.len(), FRAME);
        server.writer.send_noise(&[2; FRAME]).await;
        assert_eq!(client.reader.noise().await.len(), FRAME);
    }
    // Announcements are not blocked either.
    let _another = network.session().await;
}

#[tokio::test]
async fn a_stamp_tells_how_long_a_frame_waited() {
    let mut network = TestNetwork::new().await;
    let (client, mut server) = network.session().await;
    let count = fill(&client).await;
    let mut longest = 0;
    for _ in 0..count {
        longest = longest.max(server.reader.next().await.unwrap().queue_ns);
    }
    assert!(longest >= STALL_TIME.as_nanos() as u64 / 2, "{longest} ns");
}

#[tokio::test]
async fn a_session_that_does_not_move_ends_with_a_reason() {
    let mut network = TestNetwork::limited(Limits {
        stalled: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    // A window for one frame, and a reader that reads none.
    network.client = PeerConnection::with_window(&network.relay, 1_000).await;
    let (client, mut server) = network.session().await;
    let (_other_client, _other_server) = network.session().await;
    fill(&server).await;
    let status = server.reader.end().await;
    assert_status(&status, Code::DeadlineExceeded, "read nothing");
    let counted = |s: &MetricsSnapshot| s.sessions_open == 1 && s.sessions_reset == 1;
    network
        .relay
        .counts("the end of that session alone", counted)
        .await;
    drop(client);
}

#[tokio::test]
async fn a_session_ends_for_the_memory_it_would_hold_and_others_do_not() {
    let mut network = TestNetwork::limited(Limits {
        memory: 8 * 1024 * 1024,
        ..Limits::default()
    })
    .await;
    let (mut other_client, mut other_server) = network.session().await;
    let (client, mut server) = network.session().await;
    // A direction may buffer 2 MiB here: half of the memory, and a byte counts twice.
    while let Ok(true) = timeout(STALL_TIME, server.writer.send_noise(&[7; FRAME])).await {}
    let status = server.reader.end().await;
    assert_status(
        &status,
        Code::ResourceExhausted,
        "exceeded the relay's memory limit",
    );
    drop(client);
    other_client.writer.send_noise(b"still here").await;
    assert_eq!(&other_server.reader.noise().await[..], b"still here");
    other_server.writer.send_noise(b"and I").await;
    assert_eq!(&other_client.reader.noise().await[..], b"and I");
}

#[tokio::test]
async fn a_dial_that_sends_more_than_its_first_frame_is_refused() {
    let mut network = TestNetwork::new().await;
    let dial = network.client.dial(network.exec_server.id, new_session());
    network.exec_server.incoming().await;
    for _ in 0..10 {
        dial.writer.send_noise(&[7; 15_000]).await;
    }
    assert_status(
        &dial.refused().await,
        Code::InvalidArgument,
        "before the exec-server accepted",
    );
    let _session = network.session().await;
}
