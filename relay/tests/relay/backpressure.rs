//! A reader that stalls: bounded memory, no loss, and nobody else notices.

use std::time::Duration;

use baton_proto::relay::Frame;
use bytes::Bytes;
use tokio::time::timeout;

use crate::support::{Side, World, encode};

/// Long enough for loopback to move everything that has room.
const STALLED: Duration = Duration::from_millis(500);

const FRAME: usize = 60_000;

/// Writes numbered frames until the stream takes no more; returns how many it took.
async fn fill(side: &Side) -> u32 {
    let mut count = 0;
    while let Ok(taken) = timeout(STALLED, side.writer.send_raw(numbered(count))).await {
        assert!(taken, "the stream ended");
        count += 1;
        assert!(count < 1_000, "nothing stops the writer");
    }
    count
}

fn numbered(number: u32) -> Bytes {
    let mut noise = vec![0; FRAME];
    noise[..4].copy_from_slice(&number.to_be_bytes());
    encode(&Frame {
        noise: noise.into(),
        ..Frame::default()
    })
    .into()
}

#[tokio::test]
async fn a_stalled_reader_stops_the_writer_within_the_stated_bound_and_loses_nothing() {
    let mut world = World::new().await;
    let (client, mut server) = world.session().await;
    let count = fill(&client).await;
    // The relay's 6 MiB, and what the two test peers hold: the reader's window (4 MiB), the writer's send buffer (1 MiB).
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
    let mut world = World::new().await;
    let (client, mut server) = world.session().await;
    let empty: Bytes = encode(&Frame::default()).repeat(10_000).into();
    let mut sent = 0;
    // The queue holds 2,048 of them and the window closes behind it, as for any other bytes.
    while let Ok(true) = timeout(STALLED, client.writer.send_raw(empty.clone())).await {
        sent += 1;
        assert!(sent < 150, "{sent} chunks of 50,000 bytes were taken");
    }
    for _ in 0..sent * 10_000 {
        assert!(server.reader.noise().await.is_empty());
    }
}

#[tokio::test]
async fn stalled_sessions_do_not_stop_another_on_the_same_connections() {
    let mut world = World::new().await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        stalled.push(world.session().await);
    }
    let (mut client, mut server) = world.session().await;
    for (stalled_client, stalled_server) in &stalled {
        tokio::join!(fill(stalled_client), fill(stalled_server));
    }
    for _ in 0..100 {
        client.writer.send_noise(&[1; FRAME]).await;
        assert_eq!(server.reader.noise().await.len(), FRAME);
        server.writer.send_noise(&[2; FRAME]).await;
        assert_eq!(client.reader.noise().await.len(), FRAME);
    }
    // Nor does it stop announcements.
    let _another = world.session().await;
}

#[tokio::test]
async fn a_stamp_tells_how_long_a_frame_waited() {
    let mut world = World::new().await;
    let (client, mut server) = world.session().await;
    let count = fill(&client).await;
    let mut longest = 0;
    for _ in 0..count {
        longest = longest.max(server.reader.next().await.unwrap().queue_ns);
    }
    assert!(longest >= STALLED.as_nanos() as u64 / 2, "{longest} ns");
}
