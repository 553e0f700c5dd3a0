//! Reconnecting: a client retries after temporary errors, and an exec-server registers soon after its relay restarts.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Channel, ChannelConfig, ConnectError, Notice, RelayError, Server};

use crate::support::service::{Caller, Mounted};
use crate::support::{RunningRelay, Stack, source, waiting, within};

#[tokio::test]
async fn a_client_waits_for_a_relay_and_then_for_an_exec_server() {
    let reserved = RunningRelay::start().await;
    let address = reserved.address;
    reserved.kill().await;
    let seed = Seed::generate().unwrap();
    let key = seed.client_key().unwrap();
    let allow = AllowList::only(*key.public(), "test", Trust::Continue);
    let server = Server::new(&format!("http://{address}"), &seed, allow).unwrap();
    let told: Arc<Mutex<Vec<ConnectError>>> = Arc::default();
    let tell = Arc::clone(&told);
    let config = ChannelConfig {
        on_waiting: Some(Arc::new(move |error, left| {
            assert!(left < Duration::from_secs(25));
            tell.lock().unwrap().push(error.clone());
        })),
        ..waiting(Duration::from_secs(25))
    };
    let channel = Channel::with_config(server.ticket(), key, config);
    let caller = Caller::new(channel);
    let calling = tokio::spawn(async move { caller.echo("x").await });
    within(async {
        while told.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let _relay = RunningRelay::start_at(address).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!calling.is_finished());
    let serving = tokio::spawn(server.serve(Mounted::echo(), std::future::pending()));
    assert_eq!(within(calling).await.unwrap().unwrap(), "x");
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert!(
        matches!(&told[..], [ConnectError::Relay(RelayError::Unreachable { .. })]),
        "once: {told:?}"
    );
    serving.abort();
}

#[tokio::test]
async fn a_connect_timeout_reports_the_last_error() {
    const PATIENCE: Duration = Duration::from_millis(700);
    let stack = Stack::start(Mounted::echo()).await;
    let mut ticket = stack.server.ticket.clone();
    ticket.exec_server.0[0] ^= 1;
    let started = Instant::now();
    let channel = Channel::with_config(ticket, stack.key(), waiting(PATIENCE));
    let failed = within(channel.connect()).await.unwrap_err();
    let error = source::<ConnectError>(&failed);
    assert!(matches!(error, ConnectError::NotRegistered { .. }), "{error:?}");
    let took = started.elapsed();
    assert!(took > PATIENCE / 3 && took < 3 * PATIENCE, "{took:?}");

    // The first attempt is still running when the timeout expires.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut ticket = stack.server.ticket.clone();
    ticket.relay_url = format!("http://{}", silent.local_addr().unwrap());
    let channel = Channel::with_config(ticket, stack.key(), waiting(PATIENCE));
    let failed = within(channel.connect()).await.unwrap_err();
    let error = source::<ConnectError>(&failed);
    assert!(matches!(error, ConnectError::NotInTime(PATIENCE)), "{error:?}");
}

#[tokio::test]
async fn commands_work_again_soon_after_each_restart_of_a_relay() {
    const RESTARTS: usize = 6;
    let mut stack = Stack::start(Mounted::echo()).await;
    let address = stack.relay.address;
    let mut took = Vec::new();
    for n in 0..RESTARTS {
        // Alternates between a graceful stop and a power cut.
        match n % 2 {
            0 => stack.relay.stop().await,
            _ => stack.relay.kill().await,
        }
        // The relay is down for longer than the first attempts.
        tokio::time::sleep(Duration::from_millis(700)).await;
        stack.relay = RunningRelay::start_at(address).await;
        let started = Instant::now();
        assert_eq!(within(stack.caller().echo("x")).await.unwrap(), "x");
        took.push(started.elapsed());
    }
    took.sort();
    assert!(took[RESTARTS / 2] < Duration::from_secs(1), "{took:?}");
    assert!(took[RESTARTS - 1] < Duration::from_secs(2), "{took:?}");
    let mut pauses = Vec::new();
    while let Ok(notice) = stack.server.notices.try_recv() {
        if let Notice::Retrying(error, wait) = notice {
            pauses.push((error.to_string(), wait));
        }
    }
    let longest = baton_channel::limits::REDIAL_EVERY * 3 / 2;
    assert!(pauses.iter().all(|(_, wait)| *wait <= longest), "{pauses:?}");
}
