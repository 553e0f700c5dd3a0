//! Proof of the key, the relay's authorities, and which registration holds a key's slot.

use std::time::Duration;

use baton_proto::relay::{Pong, RegisterRequest, register_request, register_response};
use baton_relay::{AllowedServers, Config, Limits, RefusalReason};
use tonic::{Code, Status};

use crate::support::{
    ExecServer, PeerConnection, RegisterStream, RegistrationKey, TestNetwork, TestRelay, assert_status,
    new_session,
};

/// Registers with a proof made from the nonce.
async fn answer(
    relay: &TestRelay,
    authority: &str,
    proof: impl FnOnce(&[u8]) -> baton_proto::relay::Proof,
) -> Status {
    let mut stream = RegisterStream::open(relay, authority).await.unwrap();
    let nonce = stream.challenge().await;
    assert_eq!(nonce.len(), 32);
    stream.prove(proof(&nonce)).await;
    match stream.next().await {
        Ok(register_response::Kind::Registered(_)) => Status::ok(""),
        Ok(other) => panic!("{other:?}"),
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_valid_proof_registers_until_the_stream_ends() {
    let relay = TestRelay::start().await;
    let exec_server = ExecServer::register(&relay, 1).await;
    assert_eq!(
        exec_server.max_sessions as usize,
        baton_relay::limits::SESSIONS_PER_EXEC_SERVER
    );
    relay.counts("the registration", |s| s.registrations == 1).await;
    let id = exec_server.id;
    drop(exec_server);
    relay.counts("its end", |s| s.registrations == 0).await;
    let client = PeerConnection::connect(&relay).await;
    assert_eq!(
        client.dial(id, new_session()).refused().await.code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_proof_that_is_wrong_in_any_part_is_refused() {
    let relay = TestRelay::start().await;
    let authority = relay.addr.to_string();
    let key = RegistrationKey::new(1);
    let good = |nonce: &[u8]| key.proof(nonce, &relay.addr.to_string());

    let status = answer(&relay, &authority, |nonce| {
        let mut proof = good(nonce);
        proof.version = 7;
        proof
    })
    .await;
    assert_status(&status, Code::FailedPrecondition, "version 2, the exec-server 7");

    let status = answer(&relay, &authority, |nonce| {
        let mut proof = good(nonce);
        proof.dial_token_hash = vec![0; 32].into();
        proof
    })
    .await;
    assert_status(&status, Code::Unauthenticated, "signature");

    let status = answer(&relay, &authority, |nonce| {
        let mut proof = good(nonce);
        proof.public_key = RegistrationKey::new(2)
            .proof(nonce, &relay.addr.to_string())
            .public_key;
        proof
    })
    .await;
    assert_status(&status, Code::Unauthenticated, "signature");

    let status = answer(&relay, &authority, |_| good(&[0; 32])).await;
    assert_status(&status, Code::Unauthenticated, "this challenge");

    let shorten: [fn(&mut baton_proto::relay::Proof); 3] = [
        |proof| proof.public_key.truncate(31),
        |proof| proof.signature.truncate(63),
        |proof| proof.dial_token_hash.truncate(31),
    ];
    for shorten in shorten {
        let status = answer(&relay, &authority, |nonce| {
            let mut proof = good(nonce);
            shorten(&mut proof);
            proof
        })
        .await;
        assert_status(&status, Code::InvalidArgument, "malformed");
    }

    let status = answer(&relay, &authority, |nonce| {
        let mut proof = good(nonce);
        proof.signature = vec![0; 5_000].into();
        proof
    })
    .await;
    assert_status(&status, Code::InvalidArgument, "longer than");
    assert_eq!(relay.metrics.snapshot().refused(RefusalReason::NotAuthorised), 3);
    assert_eq!(relay.metrics.snapshot().registrations, 0);
}

#[tokio::test]
async fn a_header_that_does_not_name_the_proven_key_is_refused() {
    let relay = TestRelay::start().await;
    let authority = relay.addr.to_string();
    let open = |id| RegisterStream::open_with(&relay, &authority, id, [127, 0, 0, 1]);
    for (bad, expected) in [
        (None, "baton-exec-server-id is missing"),
        (Some("ABCD"), "baton-exec-server-id is"),
    ] {
        let status = open(bad).await.err().unwrap();
        assert_status(&status, Code::InvalidArgument, expected);
    }
    let (key, other) = (RegistrationKey::new(1), RegistrationKey::new(2));
    let mut stream = open(Some(&other.id().to_string())).await.unwrap();
    let nonce = stream.challenge().await;
    stream.prove(key.proof(&nonce, &authority)).await;
    let status = stream.next().await.unwrap_err();
    assert_status(
        &status,
        Code::InvalidArgument,
        &format!("names exec-server {}", other.id()),
    );
    assert_status(&status, Code::InvalidArgument, &format!("that of {}", key.id()));
    assert_eq!(relay.metrics.snapshot().registrations, 0);
    assert_eq!(relay.metrics.snapshot().refused(RefusalReason::Malformed), 3);
}

#[tokio::test]
async fn a_first_message_that_is_no_proof_or_none_at_all_is_refused() {
    let relay = TestRelay::start().await;
    let authority = relay.addr.to_string();
    let mut stream = RegisterStream::open(&relay, &authority).await.unwrap();
    stream.challenge().await;
    let kind = Some(register_request::Kind::Pong(Pong { nonce: 1 }));
    stream.send.send(RegisterRequest { kind }).await.unwrap();
    assert_status(
        &stream.next().await.unwrap_err(),
        Code::InvalidArgument,
        "is not a Proof",
    );

    let relay = TestRelay::limited(Limits {
        handshake_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let authority = relay.addr.to_string();
    let mut stream = RegisterStream::open(&relay, &authority).await.unwrap();
    stream.challenge().await;
    assert_status(
        &stream.next().await.unwrap_err(),
        Code::DeadlineExceeded,
        "no Proof arrived within 50ms",
    );
}

#[tokio::test]
async fn half_open_registrations_of_an_address_are_limited() {
    let relay = TestRelay::limited(Limits {
        unproved_per_address: 1,
        ..Limits::default()
    })
    .await;
    let authority = relay.addr.to_string();
    let mut first = RegisterStream::open(&relay, &authority).await.unwrap();
    first.challenge().await;
    let mut second = RegisterStream::open(&relay, &authority).await.unwrap();
    assert_status(
        &second.next().await.unwrap_err(),
        Code::ResourceExhausted,
        "in progress",
    );
}

#[tokio::test]
async fn registrations_of_the_relay_and_of_an_address_are_limited_and_come_back() {
    for (limits, expected) in [
        (
            Limits {
                registrations: 1,
                ..Limits::default()
            },
            "registration limit (1) of this relay",
        ),
        (
            Limits {
                registrations_per_address: 1,
                ..Limits::default()
            },
            "registration limit (1) of your address",
        ),
    ] {
        let relay = TestRelay::limited(limits).await;
        let first = ExecServer::register(&relay, 1).await;
        let status = ExecServer::try_register(&relay, 2).await.err().unwrap();
        assert_status(&status, Code::ResourceExhausted, expected);
        assert_status(&status, Code::ResourceExhausted, "use another relay");
        drop(first);
        relay.counts("a free slot", |s| s.registrations == 0).await;
        ExecServer::register(&relay, 2).await;
    }
}

#[tokio::test]
async fn a_forwarded_challenge_is_refused() {
    let honest = TestRelay::start().await;
    let key = RegistrationKey::new(1);
    // The exec-server dialled "evil:1", which forwards the honest relay's nonce and its answer.
    let status = answer(&honest, &honest.addr.to_string(), |nonce| {
        key.proof(nonce, "evil:1")
    })
    .await;
    assert_status(&status, Code::Unauthenticated, "this relay's authority");
    // The honest relay also rejects the other authority.
    let status = RegisterStream::open(&honest, "evil:1").await.err().unwrap();
    assert_status(
        &status,
        Code::FailedPrecondition,
        "does not accept the authority 'evil:1'",
    );
    assert_status(&status, Code::FailedPrecondition, "--authority evil:1");
    assert_eq!(honest.metrics.snapshot().registrations, 0);
}

#[tokio::test]
async fn a_relay_answers_to_its_configured_names_and_to_localhost_without_them() {
    let plain = TestRelay::start().await;
    let localhost = format!("localhost:{}", plain.addr.port());
    let key = RegistrationKey::new(1);
    let status = answer(&plain, &localhost, |nonce| key.proof(nonce, &localhost)).await;
    assert_eq!(status.code(), Code::Ok);

    let named = TestRelay::with(Config {
        authorities: vec!["relay.example:443".to_owned()],
        ..Config::default()
    })
    .await;
    let name = "relay.example:443";
    let status = answer(&named, name, |nonce| key.proof(nonce, name)).await;
    assert_eq!(status.code(), Code::Ok);
    let status = RegisterStream::open(&named, &named.addr.to_string())
        .await
        .err()
        .unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_living_registration_cannot_be_pushed_out() {
    let relay = TestRelay::start().await;
    let mut first = ExecServer::register(&relay, 1).await;
    let second = ExecServer::try_register(&relay, 1);
    let answering = async {
        match first.stream.next().await.unwrap() {
            register_response::Kind::Ping(ping) => first.pong(ping.nonce).await,
            other => panic!("{other:?}"),
        }
    };
    let (second, ()) = tokio::join!(second, answering);
    assert_status(&second.err().unwrap(), Code::AlreadyExists, "its own key");

    let client = PeerConnection::connect(&relay).await;
    let id = new_session();
    let _dial = client.dial(first.id, id);
    assert_eq!(first.incoming().await.session_id, &id.0[..]);
    assert_eq!(relay.metrics.snapshot().registrations, 1);
}

#[tokio::test]
async fn a_dead_registration_is_replaced_after_a_probe() {
    let relay = TestRelay::limited(Limits {
        probe_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut first = ExecServer::register(&relay, 1).await;
    let mut second = ExecServer::register(&relay, 1).await;

    assert!(matches!(
        first.stream.next().await,
        Ok(register_response::Kind::Ping(_))
    ));
    assert_status(&first.stream.next().await.unwrap_err(), Code::Aborted, "replaced");
    relay.counts("one registration", |s| s.registrations == 1).await;

    let client = PeerConnection::connect(&relay).await;
    let _dial = client.dial(second.id, new_session());
    second.incoming().await;
}

#[tokio::test]
async fn a_registration_whose_connection_is_gone_is_replaced_at_once() {
    let relay = TestRelay::start().await; // Its probe would wait two seconds.
    for _ in 0..3 {
        drop(ExecServer::register(&relay, 1).await);
    }
}

#[tokio::test]
async fn spliced_sessions_outlive_the_registration_and_still_count() {
    let mut network = TestNetwork::limited(Limits {
        sessions_per_exec_server: 1,
        waiting_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let (client, mut server) = network.session().await;
    drop(network.exec_server);
    network.relay.counts("its end", |s| s.registrations == 0).await;
    client.writer.send_noise(b"still here").await;
    assert_eq!(&server.reader.noise().await[..], b"still here");

    let exec_server = ExecServer::register(&network.relay, 1).await;
    let status = network.client.dial(exec_server.id, new_session()).refused().await;
    assert_status(
        &status,
        Code::ResourceExhausted,
        "no session slot became free within 50ms",
    );
}

#[tokio::test]
async fn shutting_down_ends_registrations_dials_and_sessions_with_a_reason() {
    let mut network = TestNetwork::new().await;
    let (mut client, mut server) = network.session().await;
    let waiting = network.client.dial(network.exec_server.id, new_session());
    network.exec_server.incoming().await;
    network.relay.shut_down().await;
    for status in [client.reader.end().await, server.reader.end().await] {
        assert_status(&status, Code::Aborted, "shutting down; reconnect");
    }
    for status in [
        waiting.refused().await,
        network.exec_server.stream.next().await.unwrap_err(),
    ] {
        assert_status(&status, Code::Unavailable, "shutting down; reconnect");
    }
}

#[tokio::test]
async fn only_listed_exec_servers_register_and_the_list_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers");
    let list = |seeds: &[u8]| {
        let ids: String = seeds
            .iter()
            .map(|seed| format!("{}\n", RegistrationKey::new(*seed).id()))
            .collect();
        std::fs::write(&path, format!("# ours\n{ids}")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    list(&[1]);
    let relay = TestRelay::with(Config {
        allow_servers: Some(AllowedServers::from_file(&path).unwrap()),
        ..Config::default()
    })
    .await;
    let mut listed = ExecServer::register(&relay, 1).await;
    let status = ExecServer::try_register(&relay, 2).await.err().unwrap();
    assert_status(
        &status,
        Code::PermissionDenied,
        &RegistrationKey::new(2).id().to_string(),
    );
    assert_status(&status, Code::PermissionDenied, "--allow-servers");

    list(&[2]);
    let status = listed.stream.next().await.unwrap_err();
    assert_status(&status, Code::PermissionDenied, "does not list");
    relay.counts("its end", |s| s.registrations == 0).await;
    let _added = ExecServer::register(&relay, 2).await;
}

#[tokio::test]
async fn strangers_who_fill_the_table_do_not_lock_out_whoever_was_there_before() {
    let relay = TestRelay::limited(Limits {
        registrations: 3,
        registrations_per_address: 2,
        ..Limits::default()
    })
    .await;
    let ours = ExecServer::register(&relay, 1).await;
    drop(ours);
    relay.counts("its end", |s| s.registrations == 0).await;
    let _first = ExecServer::register_from(&relay, [127, 0, 0, 2], 2)
        .await
        .unwrap();
    let _second = ExecServer::register_from(&relay, [127, 0, 0, 1], 3)
        .await
        .unwrap();
    let mut last = ExecServer::register_from(&relay, [127, 0, 0, 1], 4)
        .await
        .unwrap();
    let status = ExecServer::register_from(&relay, [127, 0, 0, 3], 5)
        .await
        .err()
        .unwrap();
    assert_status(&status, Code::ResourceExhausted, "registration limit (3)");

    // Neither the full table nor its full address keeps it out.
    let _back = ExecServer::register(&relay, 1).await;
    let status = last.stream.next().await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, "registered here before");
    relay.counts("three of them", |s| s.registrations == 3).await;
}
