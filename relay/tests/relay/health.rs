//! Health checks: their status for each request, and that the exec-server is not notified.

use baton_proto::{ExecServerId, header};
use baton_relay::RefusalReason;

use crate::support::{DIAL_TOKEN, PeerConnection, TestNetwork, new_session, within_timeout};

const EXEC_SERVER: &str = "/health/exec-server";

fn headers(id: ExecServerId, token: &[u8]) -> [(&'static str, String); 2] {
    [
        (header::EXEC_SERVER_ID, id.to_string()),
        (header::DIAL_TOKEN, data_encoding::HEXLOWER.encode(token)),
    ]
}

#[tokio::test]
async fn a_health_check_tells_what_a_dial_tells_and_the_exec_server_hears_of_none() {
    let TestNetwork {
        relay,
        mut exec_server,
        client,
        ..
    } = TestNetwork::new().await;
    assert_eq!(client.get("/health", &[]).await, 200);
    let id = exec_server.id;
    let held = headers(id, &DIAL_TOKEN);
    assert_eq!(client.get(EXEC_SERVER, &held).await, 200);
    assert_eq!(client.get(EXEC_SERVER, &headers(id, &[0; 32])).await, 403);
    let other = headers(ExecServerId([9; 16]), &DIAL_TOKEN);
    assert_eq!(client.get(EXEC_SERVER, &other).await, 404);
    for missing in 0..held.len() {
        let mut headers = held.to_vec();
        headers[missing].1.push('x');
        assert_eq!(client.get(EXEC_SERVER, &headers).await, 400);
        headers.remove(missing);
        assert_eq!(client.get(EXEC_SERVER, &headers).await, 400);
    }
    let dialled = new_session();
    let dial = client.dial(id, dialled);
    assert_eq!(exec_server.incoming().await.session_id, &dialled.0[..]);
    dial.reset().await;

    drop(exec_server);
    let gone = async { while client.get(EXEC_SERVER, &held).await != 404 {} };
    within_timeout("the end of the registration", gone).await;
    assert_eq!(client.get("/health", &[]).await, 200);
    // No health check counted as a dial.
    assert_eq!(relay.metrics.snapshot().refused, RefusalReason::ALL.map(|_| 0));
}

#[tokio::test]
async fn a_relay_that_shuts_down_is_not_healthy() {
    let mut network = TestNetwork::new().await;
    network.relay.shut_down().await;
    assert!(tokio::net::TcpStream::connect(network.relay.addr).await.is_err());
    within_timeout(
        "the end of the connection",
        PeerConnection::closed(network.client),
    )
    .await;
}
