//! Sessions that a relay crosses, sessions that it routes to another peer, and replays of recorded messages.

use std::ops::ControlFlow::Continue;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use baton_channel::Notice;
use baton_core_client::{ConnectError, RunError};
use baton_proto::SessionId;
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use bytes::Bytes;
use tokio::time::timeout;

use crate::relay::{Alter, Dialled, Forwarding, Half, HostileRelay, carry, lock, splice};
use crate::testbed::{Attack, Expected, IN_TIME, Testbed};

/// Two concurrent visits, whose sessions both go to the test. Both must have the expected result.
async fn cross<F>(name: &str, expected: Expected, behavior: impl FnOnce(HostileRelay, Dialled, Dialled) -> F)
where
    F: Future<Output = ()>,
{
    let testbed = Arc::new(Testbed::start().await);
    let (one, mut dials_of_one) = testbed.victim();
    let (other, mut dials_of_other) = testbed.victim();
    let behavior = async {
        let (one, other) = tokio::join!(dials_of_one.recv(), dials_of_other.recv());
        drop((dials_of_one, dials_of_other));
        behavior(testbed.relay.clone(), one.unwrap(), other.unwrap()).await;
    };
    let names = [format!("{name}: one"), format!("{name}: other")];
    let visits = async {
        let visits = tokio::join!(testbed.visit(&one, &names[0]), testbed.visit(&other, &names[1]));
        [visits.0, visits.1]
    };
    let attack = async {
        let mut visits = pin!(timeout(IN_TIME, visits));
        // The relay may forward sessions for ever, so the visits alone decide.
        let visits = tokio::select! {
            visits = &mut visits => visits,
            () = behavior => visits.await,
        };
        visits.expect("both visits end within the deadline")
    };
    let visits = testbed.with_bystander(attack).await;
    let ran = testbed.ran();
    for (visit, name) in visits.iter().zip(&names) {
        visit.assert(name, expected);
        let times = ran.get(name).copied().unwrap_or(0);
        assert!(
            times <= usize::from(expected == Expected::Cut),
            "{name} ran {times} times"
        );
    }
}

/// Forwards the two messages of the handshake.
async fn shake_hands(client: &mut Half, server: &mut Half) {
    let message1 = client.source.next().await.unwrap();
    server.sink.send(message1).await;
    let message2 = server.source.next().await.unwrap();
    client.sink.send(message2).await;
}

async fn both(relay: &HostileRelay, one: Dialled, other: Dialled) -> [(Half, Half); 2] {
    let (first, second) = tokio::join!(
        relay.announce(one.exec_server, one.session),
        relay.announce(other.exec_server, other.session)
    );
    [(one.answer(), first.unwrap()), (other.answer(), second.unwrap())]
}

fn straight() -> Forwarding {
    Forwarding::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_crossed_from_the_start_do_not_come_about() {
    cross("crossed", Expected::NothingRuns, async |relay, one, other| {
        let [(client_1, server_1), (client_2, server_2)] = both(&relay, one, other).await;
        tokio::join!(
            splice(client_1, server_2, straight(), straight()),
            splice(client_2, server_1, straight(), straight())
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_crossed_after_their_handshakes_end() {
    cross(
        "crossed later",
        Expected::NothingRuns,
        async |relay, one, other| {
            let [(mut client_1, mut server_1), (mut client_2, mut server_2)] = both(&relay, one, other).await;
            shake_hands(&mut client_1, &mut server_1).await;
            shake_hands(&mut client_2, &mut server_2).await;
            tokio::join!(
                splice(client_1, server_2, straight(), straight()),
                splice(client_2, server_1, straight(), straight())
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_whose_answers_are_crossed_end() {
    cross("answers crossed", Expected::Cut, async |relay, one, other| {
        let [(mut client_1, mut server_1), (mut client_2, mut server_2)] = both(&relay, one, other).await;
        shake_hands(&mut client_1, &mut server_1).await;
        shake_hands(&mut client_2, &mut server_2).await;
        tokio::select! {
            () = carry(client_1.source, server_1.sink, straight()) => {}
            () = carry(client_2.source, server_2.sink, straight()) => {}
            () = carry(server_1.source, client_2.sink, straight()) => {}
            () = carry(server_2.source, client_1.sink, straight()) => {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_peer_or_another_session_than_the_client_meant_fails_the_handshake() {
    let testbed = Arc::new(Testbed::start().await);
    let other = testbed.second_exec_server().await.exec_server;
    let attacks = [
        Attack {
            name: "another exec-server".into(),
            behavior: Box::new(move |dialled, relay| {
                Box::pin(async move {
                    let server = relay.announce(other, dialled.session).await.unwrap();
                    splice(dialled.answer(), server, straight(), straight()).await;
                })
            }),
            expected: Expected::NothingRuns,
        },
        Attack {
            name: "another session".into(),
            behavior: Box::new(|dialled, relay| {
                Box::pin(async move {
                    let session = SessionId(rand::random());
                    let server = relay.announce(dialled.exec_server, session).await.unwrap();
                    splice(dialled.answer(), server, straight(), straight()).await;
                })
            }),
            expected: Expected::NothingRuns,
        },
        Attack {
            name: "the client itself".into(),
            behavior: Box::new(|dialled, _| {
                Box::pin(async move {
                    let client = dialled.answer();
                    carry(client.source, client.sink, straight()).await;
                })
            }),
            expected: Expected::NothingRuns,
        },
    ];
    testbed.withstand(attacks.into()).await;
}

/// The recorded messages of one session.
#[derive(Clone, Default)]
struct Tape {
    up: Arc<Mutex<Vec<Bytes>>>,
    down: Arc<Mutex<Vec<Bytes>>>,
}

fn recording(tape: &Arc<Mutex<Vec<Bytes>>>) -> Forwarding {
    let tape = Arc::clone(tape);
    let alter: Alter = Box::new(move |_, message| {
        lock(&tape).push(message.clone());
        Continue(vec![message])
    });
    Forwarding {
        alter: Some(alter),
        ..Forwarding::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_said_in_a_session_means_anything_in_another() {
    let testbed = Arc::new(Testbed::start().await);
    let tape = Tape::default();
    let (sender, dialled_session) = tokio::sync::oneshot::channel();
    let recorded = Attack {
        name: "recorded".into(),
        behavior: Box::new({
            let tape = tape.clone();
            |dialled, relay| {
                Box::pin(async move {
                    sender.send((dialled.exec_server, dialled.session)).unwrap();
                    let server = relay
                        .announce(dialled.exec_server, dialled.session)
                        .await
                        .unwrap();
                    splice(
                        dialled.answer(),
                        server,
                        recording(&tape.up),
                        recording(&tape.down),
                    )
                    .await;
                })
            }
        }),
        expected: Expected::Unharmed,
    };
    testbed.withstand(vec![recorded]).await;
    let (exec_server, session) = dialled_session.await.unwrap();
    let (up, down) = (lock(&tape.up).clone(), lock(&tape.down).clone());
    assert!(up.len() > 3 && down.len() > 3);

    // To the exec-server: the handshake completes, because message 1 can be replayed, but no call starts.
    let replay = async {
        for (name, messages) in [("all of it", &up[..]), ("the first call", &up[..2])] {
            testbed.clear_notices();
            let mut server = testbed.relay.announce(exec_server, session).await.expect(name);
            for message in messages {
                server.sink.send(message.clone()).await;
            }
            let ended = async { while server.source.next().await.is_some() {} };
            timeout(IN_TIME, ended)
                .await
                .expect("the exec-server closes the stream");
            // The exec-server reports a failed accept, and no session.
            let failed = |notice: &Notice| matches!(notice, Notice::AcceptFailed(why) if why.contains("did not decrypt"));
            testbed.until(name, failed).await;
        }
        // Message 1 alone, and silence: the exec-server gives up after the handshake timeout.
        let mut server = testbed.relay.announce(exec_server, session).await.unwrap();
        server.sink.send(up[0].clone()).await;
        assert!(server.source.next().await.is_some(), "message 2");
        let reason = timeout(4 * HANDSHAKE_TIMEOUT, server.source.next()).await;
        assert!(
            reason.expect("the exec-server gives up").is_some(),
            "a GoAway, for the client"
        );
        let ended = timeout(IN_TIME, server.source.next()).await;
        assert!(ended.expect("the exec-server closes the stream").is_none());
    };
    testbed.with_bystander(replay).await;
    assert_eq!(
        testbed.ran()["recorded"],
        1,
        "the command ran once, for the recorded call"
    );

    // To the client: message 2 answers only the message 1 of its own handshake.
    let (client, mut dials) = testbed.victim();
    let deceive = async {
        let dialled = dials.recv().await.unwrap();
        drop(dials);
        let half = dialled.answer();
        for message in &down {
            half.sink.send(message.clone()).await;
        }
        half
    };
    let (visit, _held) = tokio::join!(timeout(IN_TIME, testbed.visit(&client, "deceived")), deceive);
    let ended = visit.expect("the visit ends within the deadline").ended;
    assert!(
        matches!(ended, Err(RunError::Connect(ConnectError::Handshake))),
        "{ended:?}"
    );

    // Within one session: messages 0 to 2 are repeated before message 3.
    let again = Attack {
        name: "repeated".into(),
        behavior: Box::new(|dialled, relay| {
            Box::pin(async move {
                let server = relay
                    .announce(dialled.exec_server, dialled.session)
                    .await
                    .unwrap();
                let mut before = Vec::new();
                let alter: Alter = Box::new(move |at, message| {
                    before.push(message.clone());
                    Continue(if at == 3 { before.clone() } else { vec![message] })
                });
                let up = Forwarding {
                    alter: Some(alter),
                    ..Forwarding::default()
                };
                splice(dialled.answer(), server, up, straight()).await;
            })
        }),
        expected: Expected::Cut,
    };
    testbed.withstand(vec![again]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_lies_about_the_clients_version_stops_no_session() {
    let testbed = Arc::new(Testbed::start().await);
    for version in [0, 2, u32::MAX] {
        testbed.relay.hint_version(version);
        let name = format!("version {version}");
        let client = testbed.client(&testbed.ticket);
        testbed
            .visit(&client, &name)
            .await
            .assert(&name, Expected::Unharmed);
    }
}
