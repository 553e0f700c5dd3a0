//! A relay behind a balancer that sends PROXY headers: who may send one, what a valid one is, and whose limits count.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use baton_proto::header;
use baton_relay::{Config, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;

use crate::support::{PeerConnection, RegistrationKey, TestRelay, assert_status, within_timeout};

/// The balancer's address.
const BALANCER: [u8; 4] = [127, 0, 0, 2];

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header of a connection of `client`, with these bytes behind the addresses.
pub(crate) fn proxied(client: &str, more: &[u8]) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let mut rest = [&ip[..], &ip].concat();
    rest.extend(client.port().to_be_bytes());
    rest.extend(443_u16.to_be_bytes());
    rest.extend(more);
    header(0x21, family, &rest)
}

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

/// A balancer's own connection.
fn local() -> Vec<u8> {
    header(0x20, 0, &[])
}

pub(crate) fn behind_balancer() -> Config {
    Config {
        balancers: vec!["127.0.0.2".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        ..Config::default()
    }
}

async fn connect_from(relay: &TestRelay, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    let stream = socket.connect(relay.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection of the balancer that begins with these bytes.
pub(crate) async fn begin(relay: &TestRelay, bytes: &[u8]) -> TcpStream {
    let mut stream = connect_from(relay, BALANCER).await;
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Whether the relay serves this connection. It sends HTTP/2's settings on a connection that it serves.
async fn is_served(stream: &mut TcpStream) -> bool {
    matches!(within_timeout("an answer", stream.read(&mut [0])).await, Ok(1))
}

async fn is_healthy(relay: &TestRelay, bytes: &[u8]) -> bool {
    let stream = begin(relay, bytes).await;
    PeerConnection::on(relay, stream).await.get("/health", &[]).await == 200
}

#[tokio::test]
async fn clients_and_health_checks_of_a_balancer_are_served_behind_their_header() {
    let relay = TestRelay::with(behind_balancer()).await;
    for header in [
        proxied("192.0.2.1:1234", &[]),
        proxied("[2001:db8::1]:1234", b"\x04\0\x01x"),
        proxied("192.0.2.1:1234", &[7; 4_000]),
        local(),
    ] {
        assert!(is_healthy(&relay, &header).await, "{header:?}");
    }
    assert_eq!(relay.metrics.snapshot().connections_rejected, 0);
}

#[tokio::test]
async fn a_header_that_arrives_byte_by_byte_is_read() {
    let relay = TestRelay::with(behind_balancer()).await;
    let mut stream = connect_from(&relay, BALANCER).await;
    for byte in proxied("192.0.2.1:1234", &[]) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let peer = PeerConnection::on(&relay, stream).await;
    assert_eq!(peer.get("/health", &[]).await, 200);
}

#[tokio::test]
async fn a_header_from_an_address_that_is_no_balancer_s_is_not_believed() {
    let relay = TestRelay::with(behind_balancer()).await;
    for address in [[127, 0, 0, 1], [127, 0, 0, 3]] {
        let mut stream = connect_from(&relay, address).await;
        // Fails if the relay has closed the connection before.
        let _ = stream.write_all(&proxied("10.0.0.1:1234", &[])).await;
        assert!(!is_served(&mut stream).await, "{address:?}");
    }
    assert_eq!(relay.metrics.snapshot().connections_rejected, 2);
    assert!(is_healthy(&relay, &local()).await);
}

#[tokio::test]
async fn a_connection_of_a_balancer_without_a_valid_header_is_closed() {
    let relay = TestRelay::with(behind_balancer()).await;
    let unix = [0; 216];
    let wrong: [&[u8]; 8] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n",
        &header(0x21, 0x31, &unix),
        &header(0x21, 0x00, &[]),
        &header(0x21, 0x12, &[0; 12]),
        &header(0x21, 0x11, &[0; 11]),
        &proxied("192.0.2.1:1234", &[7; 5_000]),
    ];
    for (at, bytes) in wrong.into_iter().enumerate() {
        let mut stream = connect_from(&relay, BALANCER).await;
        // Fails if the relay has closed the connection before.
        let _ = stream.write_all(bytes).await;
        assert!(!is_served(&mut stream).await, "{at}");
    }
    let whole = proxied("192.0.2.1:1234", &[]);
    let mut truncated = begin(&relay, &whole[..whole.len() - 1]).await;
    truncated.shutdown().await.unwrap();
    assert!(!is_served(&mut truncated).await);
    assert_eq!(relay.metrics.snapshot().connections_rejected, 9);
    assert!(is_healthy(&relay, &whole).await);
}

#[tokio::test]
async fn two_clients_behind_one_balancer_have_limits_of_their_own() {
    let relay = TestRelay::with(Config {
        limits: Limits {
            connections_per_address: 2,
            ..Limits::default()
        },
        ..behind_balancer()
    })
    .await;
    let mut held = Vec::new();
    for client in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.2:2"] {
        let mut stream = begin(&relay, &proxied(client, &[])).await;
        assert!(is_served(&mut stream).await, "{client}");
        held.push(stream);
    }
    for client in ["192.0.2.1:3", "[::ffff:192.0.2.2]:3"] {
        let mut stream = begin(&relay, &proxied(client, &[])).await;
        assert!(!is_served(&mut stream).await, "{client}");
    }
    // The clients have taken nothing from the balancer itself.
    assert!(is_healthy(&relay, &local()).await);
}

#[tokio::test]
async fn connections_that_wait_for_their_header_are_limited_in_number() {
    let relay = TestRelay::with(Config {
        limits: Limits {
            missing_headers: 1,
            header_timeout: Duration::from_secs(3600),
            ..Limits::default()
        },
        ..behind_balancer()
    })
    .await;
    // One that has sent its header no longer waits.
    let mut served = begin(&relay, &proxied("192.0.2.1:1", &[])).await;
    assert!(is_served(&mut served).await);
    let silent = begin(&relay, SIGNATURE).await;
    let mut second = begin(&relay, SIGNATURE).await;
    assert!(!is_served(&mut second).await);
    drop(silent);
    within_timeout("the release of its slot", async {
        while !is_served(&mut begin(&relay, &proxied("192.0.2.1:2", &[])).await).await {}
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection_of_a_balancer_is_closed_and_does_not_hold_the_shutdown_up() {
    let timed = |header_timeout| Config {
        limits: Limits {
            header_timeout,
            ..Limits::default()
        },
        ..behind_balancer()
    };
    let relay = TestRelay::with(timed(Duration::from_millis(50))).await;
    let mut silent = begin(&relay, SIGNATURE).await;
    assert!(!is_served(&mut silent).await);

    let mut relay = TestRelay::with(timed(Duration::from_secs(3600))).await;
    let mut silent = begin(&relay, SIGNATURE).await;
    // When this completes, the relay has accepted the silent connection too.
    assert!(is_healthy(&relay, &local()).await);
    relay.shut_down().await;
    assert!(!is_served(&mut silent).await);
}

/// A balancer would otherwise choose the authority, and with it whose forwarded challenge the relay accepts.
#[tokio::test]
async fn the_destination_of_a_header_is_no_authority_of_the_relay() {
    let relay = TestRelay::with(behind_balancer()).await;
    let stream = begin(&relay, &proxied("192.0.2.1:443", &[])).await;
    let peer = PeerConnection::on(&relay, stream).await;
    let id = [(header::EXEC_SERVER_ID, RegistrationKey::new(1).id().to_string())];
    let own = peer.call("Register", &id);
    drop(own.answered().await);
    let destination = peer.call_as("192.0.2.1:443", "Register", &id);
    assert_status(
        &destination.refused().await,
        Code::FailedPrecondition,
        "does not accept the authority '192.0.2.1:443'",
    );
}
