//! Hostile messages to a registered exec-server: it continues to serve, or registers again.

use std::sync::Arc;

use baton_channel::{Notice, RegisterError};
use baton_proto::relay::register_response::Kind;
use baton_proto::relay::{Challenge, Incoming, Ping, Registered};
use baton_support::scale::scaled;

use crate::testbed::{Expected, Testbed};

fn is_protocol(notice: &Notice) -> bool {
    matches!(notice, Notice::Retrying(RegisterError::Protocol(_), _))
}

fn is_registered(notice: &Notice) -> bool {
    matches!(notice, Notice::Registered)
}

fn is_not_accepted(notice: &Notice) -> bool {
    matches!(notice, Notice::AcceptFailed(_))
}

fn challenge() -> Option<Kind> {
    Some(Kind::Challenge(Challenge {
        nonce: vec![0; 32].into(),
    }))
}

fn registered_as(id: &[u8]) -> Option<Kind> {
    Some(Kind::Registered(Registered {
        exec_server_id: id.to_vec().into(),
        max_sessions: u32::MAX,
        ping_interval_ms: 0,
    }))
}

fn incoming(session: &[u8], token: &[u8]) -> Option<Kind> {
    Some(Kind::Incoming(Incoming {
        session_id: session.to_vec().into(),
        accept_token: token.to_vec().into(),
        origin: Vec::new().into(),
        version: 1,
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_breaks_the_registration_is_registered_with_again_and_sessions_go_on() {
    let testbed = Arc::new(Testbed::start().await);
    let id = testbed.ticket.exec_server;
    // This session must stay open throughout.
    let client = testbed.client(&testbed.ticket);
    testbed
        .visit(&client, "before")
        .await
        .assert("before", Expected::Unharmed);
    let session_ends = |notice: &Notice| matches!(notice, Notice::SessionEnded(..));

    for (name, response) in [
        ("a second challenge", challenge()),
        ("a second registration", registered_as(&id.0)),
    ] {
        testbed.clear_notices();
        testbed.relay.respond(id, response).await;
        testbed.until(name, is_protocol).await;
        testbed.until(name, is_registered).await;
        testbed
            .visit(&client, name)
            .await
            .assert(name, Expected::Unharmed);
        testbed.assert_no_notice(session_ends);
    }
    // A response of an unknown kind, as of a later version, is skipped.
    testbed.clear_notices();
    testbed.relay.respond(id, None).await;
    testbed
        .visit(&client, "unknown kind")
        .await
        .assert("unknown kind", Expected::Unharmed);
    testbed.assert_no_notice(is_protocol);
    for (name, greeting) in [
        ("no challenge", vec![registered_as(&id.0)]),
        ("an empty greeting", vec![None]),
        (
            "another id than the key's",
            vec![challenge(), registered_as(&[7; 16])],
        ),
        (
            "an id of another length",
            vec![challenge(), registered_as(&[7; 100_000])],
        ),
        (
            "a client before the registration",
            vec![challenge(), incoming(&[7; 16], &[7; 32])],
        ),
    ] {
        testbed.clear_notices();
        testbed.relay.greet(greeting);
        // The protocol violation ends the current registration.
        testbed.relay.respond(id, challenge()).await;
        testbed
            .until(name, |notice| {
                is_protocol(notice) && !format!("{notice:?}").contains("a second registration")
            })
            .await;
        testbed.until(name, is_registered).await;
        testbed
            .visit(&client, name)
            .await
            .assert(name, Expected::Unharmed);
        testbed.assert_no_notice(session_ends);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_dialled_and_floods_of_them_start_nothing_and_stop_nobody() {
    let testbed = Arc::new(Testbed::start().await);
    let id = testbed.ticket.exec_server;
    let flood = scaled("announcements and pings of a flood", 2_000, 50_000);
    let attack = async {
        for (name, response) in [
            ("no session id", incoming(b"", &[7; 32])),
            ("a session id too long", incoming(&[7; 10_000], &[7; 32])),
            ("no token", incoming(&[7; 16], b"")),
            ("a token of another length", incoming(&[7; 16], &[7; 10_000])),
            ("a session that no client dialled", incoming(&[7; 16], &[7; 32])),
        ] {
            testbed.clear_notices();
            testbed.relay.respond(id, response).await;
            testbed.until(name, is_not_accepted).await;
        }
        for nonce in 0..flood {
            testbed.relay.respond(id, Kind::Ping(Ping { nonce })).await;
            testbed
                .relay
                .respond(id, incoming(&rand::random::<[u8; 16]>(), &[7; 32]))
                .await;
        }
    };
    // The flood may have filled the queue, so that the exec-server declines a visit's dial too: the visit is repeated.
    attack.await;
    testbed.clear_notices();
    let client = testbed.client(&testbed.ticket);
    for _ in 0..20 {
        if testbed.visit(&client, "after").await.ended.is_ok() {
            break;
        }
    }
    assert_eq!(
        testbed.ran().into_iter().collect::<Vec<_>>(),
        [("after".to_owned(), 1)]
    );
    // The queue is empty from then on, so that no visit is declined.
    const MORE: usize = 10;
    for _ in 0..MORE {
        let visit = testbed.visit(&client, "later").await;
        visit.assert("later", Expected::Unharmed);
    }
    assert_eq!(testbed.ran().get("later").copied(), Some(MORE));
    testbed.settle().await;
}
