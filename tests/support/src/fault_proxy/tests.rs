//! Each fault does to both ends what its documentation says.

use std::future::Future;

use tokio::time::timeout;

use super::*;
use crate::wait::{eventually, within};

/// A proxy and both ends of a connection through it.
struct Ends {
    proxy: FaultProxy,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
}

impl Ends {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::bind_here().await;
        proxy.set_target(listener.local_addr().unwrap());
        let (near, far) = connect(&proxy, &listener).await;
        Self {
            proxy,
            listener,
            near,
            far,
        }
    }
}

impl FaultProxy {
    /// [`bind`](Self::bind) blocks.
    async fn bind_here() -> Self {
        tokio::task::spawn_blocking(|| Self::bind().unwrap())
            .await
            .unwrap()
    }
}

async fn connect(proxy: &FaultProxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(proxy.address()).await.unwrap();
    let (far, _) = within(listener.accept()).await.unwrap();
    near.set_nodelay(true).unwrap();
    (near, far)
}

async fn receive(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// That it is still pending after some time in which it would be done without a fault. It can only pass wrongly, never
/// fail wrongly.
async fn assert_pending(future: impl Future) {
    assert!(timeout(Duration::from_millis(50), future).await.is_err());
}

async fn assert_reset(stream: &mut TcpStream) {
    let error = within(stream.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn without_a_fault_both_directions_pass_and_each_ends_alone() {
    let mut ends = Ends::new().await;
    let all: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let sent = all.clone();
    let (mut from, mut to) = ends.near.into_split();
    let sending = tokio::spawn(async move { to.write_all(&sent).await.unwrap() });
    ends.far.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    within(from.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
    let mut received = Vec::new();
    within(ends.far.read_to_end(&mut received)).await.unwrap();
    assert!(received == all);
    sending.await.unwrap();
    ends.far.write_all(b"later").await.unwrap();
    let mut later = [0; 5];
    within(from.read_exact(&mut later)).await.unwrap();
    drop(ends.far);
    assert_eq!(within(from.read(&mut later)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_resets_both_ends_behind_exactly_its_byte_and_new_connections_work() {
    let mut ends = Ends::new().await;
    ends.proxy.arm(Trigger::Bytes(Direction::Up, 7), Fault::Cut);
    ends.near.write_all(b"1234").await.unwrap();
    assert_eq!(receive(&mut ends.far, 4).await, b"1234");
    assert_eq!(ends.proxy.acted(), 0);
    ends.near.write_all(b"56789").await.unwrap();
    assert_reset(&mut ends.near).await;
    let mut rest = Vec::new();
    // A reset may discard what its reader has not read.
    let end = within(ends.far.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    assert!(b"567".starts_with(&rest), "{rest:?}");
    assert_eq!((ends.proxy.acted(), ends.proxy.accepted()), (1, 1));

    let (mut near, mut far) = connect(&ends.proxy, &ends.listener).await;
    near.write_all(b"again").await.unwrap();
    assert_eq!(receive(&mut far, 5).await, b"again");
}

#[tokio::test]
async fn a_close_behind_a_byte_delivers_exactly_what_is_before_it() {
    let mut ends = Ends::new().await;
    ends.proxy.arm(Trigger::Bytes(Direction::Down, 3), Fault::Close);
    ends.far.write_all(b"12345").await.unwrap();
    let mut received = Vec::new();
    // Bytes of the sender that were not read make the close a reset; what was written arrives before it.
    let end = within(ends.near.read_to_end(&mut received)).await;
    assert!(end.is_ok() && received == b"123", "{end:?} {received:?}");
}

#[tokio::test]
async fn a_stall_holds_both_directions_and_then_loses_nothing() {
    let mut ends = Ends::new().await;
    let begun = Instant::now();
    let time = Duration::from_millis(300);
    ends.proxy.inject(Fault::Stall(time));
    ends.near.write_all(b"up").await.unwrap();
    ends.far.write_all(b"down").await.unwrap();
    assert_eq!(receive(&mut ends.far, 2).await, b"up");
    assert!(begun.elapsed() >= time);
    assert_eq!(receive(&mut ends.near, 4).await, b"down");
}

#[tokio::test]
async fn a_half_open_connection_passes_one_direction_and_hides_the_end_of_the_other() {
    for direction in [Direction::Up, Direction::Down] {
        let ends = Ends::new().await;
        ends.proxy.inject(Fault::HalfOpen(direction));
        let (mut sends, mut receives) = match direction {
            Direction::Up => (ends.near, ends.far),
            Direction::Down => (ends.far, ends.near),
        };
        sends.write_all(b"lost").await.unwrap();
        assert_pending(receives.read(&mut [0; 9])).await;
        receives.write_all(b"passes").await.unwrap();
        assert_eq!(receive(&mut sends, 6).await, b"passes");
        drop(sends);
        assert_pending(receives.read(&mut [0; 9])).await;
        // Nor does it learn from writes that its peer has gone.
        for _ in 0..10 {
            receives.write_all(b"passes").await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_pending(receives.read(&mut [0; 9])).await;
        // A new connection works.
        let (mut near, mut far) = connect(&ends.proxy, &ends.listener).await;
        near.write_all(b"new").await.unwrap();
        assert_eq!(receive(&mut far, 3).await, b"new");
    }
}

#[tokio::test]
async fn single_bytes_arrive_in_order_and_a_fault_behind_one_is_exact() {
    let mut ends = Ends::new().await;
    ends.proxy.inject(Fault::OneByte);
    let all: Vec<u8> = (0..10_000_u32).map(|number| (number * 7) as u8).collect();
    ends.near.write_all(&all).await.unwrap();
    assert!(receive(&mut ends.far, all.len()).await == all);
    ends.proxy.arm(Trigger::Bytes(Direction::Down, 1), Fault::Close);
    ends.far.write_all(b"ab").await.unwrap();
    let mut received = Vec::new();
    let _ = within(ends.near.read_to_end(&mut received)).await;
    assert_eq!(received, b"a");
}

#[tokio::test]
async fn a_delay_postpones_every_piece_until_it_is_healed() {
    let mut ends = Ends::new().await;
    let time = Duration::from_millis(100);
    ends.proxy.inject(Fault::Delay(time));
    for _ in 0..2 {
        let begun = Instant::now();
        ends.near.write_all(b"x").await.unwrap();
        receive(&mut ends.far, 1).await;
        assert!(begun.elapsed() >= time);
    }
    ends.proxy.inject(Fault::Delay(Duration::from_secs(3600)));
    ends.near.write_all(b"y").await.unwrap();
    ends.proxy.inject(Fault::Heal);
    receive(&mut ends.far, 1).await;
}

#[tokio::test]
async fn a_fault_acts_at_its_time_and_a_link_without_a_target_resets() {
    let mut ends = Ends::new().await;
    ends.proxy
        .arm(Trigger::Time(Duration::from_millis(10)), Fault::Cut);
    assert_reset(&mut ends.near).await;
    assert_reset(&mut ends.far).await;
    let (proxy, disarmed) = (FaultProxy::bind_here().await, &ends.proxy);
    // The reset may come before the connection is reported.
    match TcpStream::connect(proxy.address()).await {
        Ok(mut near) => assert_reset(&mut near).await,
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    eventually("it is counted", || proxy.accepted() == 1).await;
    disarmed.arm(Trigger::Bytes(Direction::Up, 1), Fault::Cut);
    disarmed.disarm();
    let (mut near, mut far) = connect(disarmed, &ends.listener).await;
    near.write_all(b"xy").await.unwrap();
    assert_eq!(receive(&mut far, 2).await, b"xy");
}
