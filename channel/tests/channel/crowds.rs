//! More sessions than one connection or one key may have: keys share them, clients wait for them, and further
//! connections carry them.

use std::time::{Duration, Instant};

use baton_channel::allow::AllowList;
use baton_channel::key::Seed;
use baton_channel::{Channel, ConnectError, Notice};
use baton_proto::limits::MAX_SESSIONS;
use futures_util::future::try_join_all;

use crate::support::service::Mounted;
use crate::support::{RunningRelay, RunningServer, Stack, eventually, source, waiting, within};

/// The share of one key at an exec-server with ten sessions: fewer than four times the free ones.
const SHARE: usize = 8;

/// An exec-server with ten sessions, and two clients of it.
async fn small() -> (RunningRelay, RunningServer, [Seed; 2]) {
    let relay = RunningRelay::start().await;
    let keys = [(); 2].map(|()| Seed::generate().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("allowed");
    let lines: String = keys
        .iter()
        .map(|key| format!("{} test\n", key.client_key().unwrap().public()))
        .collect();
    std::fs::write(&path, lines).unwrap();
    let allow = AllowList::file(&path).unwrap();
    // The server reads the file for every client, so it must not be deleted.
    std::mem::forget(dir);
    let server = RunningServer::with_sessions(&relay.url(), allow, Mounted::echo(), 10).await;
    (relay, server, keys)
}

fn channel(server: &RunningServer, key: &Seed, patience: Duration) -> Channel {
    Channel::with_config(
        server.ticket.clone(),
        key.client_key().unwrap(),
        waiting(patience),
    )
}

async fn connected(server: &RunningServer, key: &Seed) -> Channel {
    let channel = channel(server, key, Duration::ZERO);
    within(channel.connect()).await.unwrap();
    channel
}

#[tokio::test]
async fn one_key_cannot_take_every_session() {
    let (_relay, mut server, [greedy, modest]) = small().await;
    let mut taken = Vec::new();
    for _ in 0..SHARE {
        taken.push(connected(&server, &greedy).await);
    }
    let refused = channel(&server, &greedy, Duration::ZERO)
        .connect()
        .await
        .unwrap_err();
    let error = source::<ConnectError>(&refused);
    assert!(matches!(error, ConnectError::NoSession { .. }), "{error:?}");
    server
        .until(|notice| matches!(notice, Notice::AcceptFailed(why) if why.contains("its share")))
        .await;
    let _modest = connected(&server, &modest).await;
    for channel in &taken {
        assert!(channel.connect().await.is_ok(), "an existing session continues");
    }
}

#[tokio::test]
async fn a_session_that_ends_goes_to_whoever_waits_for_it() {
    let (_relay, server, [key, _]) = small().await;
    let mut taken = Vec::new();
    for _ in 0..SHARE {
        taken.push(connected(&server, &key).await);
    }
    let waits = channel(&server, &key, Duration::from_secs(20));
    let waiting = tokio::spawn(async move { waits.connect().await.map(|_| waits) });
    // Long enough that the exec-server declines it once.
    tokio::time::sleep(baton_channel::limits::SESSION_WAIT + Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    taken.pop().unwrap().close().await;
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_beyond_one_connection_use_further_connections() {
    let stack = Stack::start(Mounted::echo()).await;
    let crowd = 2 * MAX_SESSIONS as usize + 10;
    let metrics = stack.relay.metrics.clone();
    // The second round checks that slots on connections are released.
    for _ in 0..2 {
        let channels: Vec<_> = (0..crowd)
            .map(|_| Channel::new(stack.server.ticket.clone(), stack.key()))
            .collect();
        let started = Instant::now();
        within(try_join_all(channels.iter().map(Channel::connect)))
            .await
            .unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(metrics.snapshot().sessions_open, crowd as u64);
        drop(channels);
        eventually("no session is open", || metrics.snapshot().sessions_open == 0).await;
    }
}
