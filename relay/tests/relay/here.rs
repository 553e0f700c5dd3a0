//! `Here`: it tells an exec-server whether it is registered, and nobody anything else.

use std::time::Duration;

use baton_proto::{ExecServerId, header};
use baton_relay::{Limits, RefusalReason};
use tonic::Code;

use crate::support::{PeerConnection, TestNetwork, TestRelay, assert_status, new_session, within_timeout};

#[tokio::test]
async fn here_tells_no_more_than_a_dial_without_the_token_and_the_exec_server_hears_of_none() {
    let TestNetwork {
        relay,
        mut exec_server,
        client,
        ..
    } = TestNetwork::new().await;
    let (id, other) = (exec_server.id, ExecServerId([9; 16]));
    let dial = async |id| {
        let call = client.dial_with(id, new_session(), &[0; 32]);
        call.refused().await.code()
    };
    client.here(id).await.unwrap();
    assert_eq!(dial(id).await, Code::PermissionDenied);
    let status = client.here(other).await.unwrap_err();
    assert_status(
        &status,
        Code::NotFound,
        &format!("exec-server {other} is not registered"),
    );
    assert_eq!(dial(other).await, Code::NotFound);

    let dialled = new_session();
    let _dial = client.dial(id, dialled);
    assert_eq!(exec_server.incoming().await.session_id, &dialled.0[..]);

    drop(exec_server);
    let gone = async { while client.here(id).await.is_ok() {} };
    within_timeout("the end of the registration", gone).await;
    let counters = relay.metrics.snapshot();
    assert!(counters.here_registered >= 1);
    assert_eq!(counters.here_not_registered, 2);
    assert_eq!(counters.refused(RefusalReason::NotRegistered), 3);
}

#[tokio::test]
async fn a_here_whose_header_is_missing_repeated_or_malformed_is_refused() {
    let relay = TestRelay::start().await;
    let client = PeerConnection::connect(&relay).await;
    let status = client.call("Here", &[]).refused().await;
    assert_status(&status, Code::InvalidArgument, "baton-exec-server-id is missing");
    let bad = [(header::EXEC_SERVER_ID, "ABCD".to_owned())];
    let status = client.call("Here", &bad).refused().await;
    assert_status(&status, Code::InvalidArgument, "baton-exec-server-id is");
    // A balancer may hash one of them and store another.
    let twice = [9, 8].map(|id| (header::EXEC_SERVER_ID, ExecServerId([id; 16]).to_string()));
    let status = client.call("Here", &twice).refused().await;
    assert_status(&status, Code::InvalidArgument, "is there more than once");
    let counters = relay.metrics.snapshot();
    assert_eq!(counters.refused(RefusalReason::Malformed), 3);
    assert_eq!((counters.here_registered, counters.here_not_registered), (0, 0));
}

#[tokio::test]
async fn a_here_that_never_sends_its_message_does_not_occupy_its_stream() {
    let network = TestNetwork::limited(Limits {
        handshake_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let named = [(header::EXEC_SERVER_ID, network.exec_server.id.to_string())];
    let status = network.client.call("Here", &named).refused().await;
    assert_status(&status, Code::DeadlineExceeded, "not complete within 50ms");
    let counters = network.relay.metrics.snapshot();
    assert_eq!(counters.refused(RefusalReason::Silent), 1);
}
