//! How soon every exec-server is reachable when a relay returns under its old name.

use std::time::{Duration, Instant};

use baton_core_client::{ChannelConfig, Client};
use baton_support::scale::is_full;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::fleet::Fleet;
use crate::hostile::{here_as, register_as, url};
use crate::raw::RawServer;
use crate::{Verdict, within};

/// Every exec-server is asked for so long after the return.
const ASKED_FOR: Duration = Duration::from_secs(16);

/// The pause between two attempts to reach one exec-server.
const PAUSE: Duration = Duration::from_millis(200);

/// Without the stick table: `Here` comes every 10 s with its jitter.
const WITHOUT_TABLE: Duration = Duration::from_secs(12);

/// With it: an attempt may meet an exec-server at the moment at which the table changes. The next one succeeds.
const WITH_TABLE: Duration = Duration::from_millis(500);

/// What is required on a machine that other programs load.
const UNDER_LOAD: Duration = Duration::from_secs(15);

/// Kills the relay with the most registrations, lets it return when the others have taken them over, and looks when
/// each exec-server is reachable at the first attempt from then on. Meanwhile strangers register and ask in the name of
/// each, which changes nothing, not even the table.
pub(crate) async fn after_return(fleet: &mut Fleet, has_table: bool) -> Verdict {
    for exec_server in 0..fleet.exec_servers.len() {
        connect_patiently(fleet, exec_server).await;
    }
    let streams = fleet.balancer.streams().await;
    let busiest = (0..streams.len())
        .max_by_key(|&relay| streams[relay])
        .unwrap_or_default();
    fleet.relays[busiest].kill();
    fleet.balancer.await_state(busiest, &["DOWN"]).await;
    for exec_server in 0..fleet.exec_servers.len() {
        connect_patiently(fleet, exec_server).await;
    }
    let away = fleet.balancer.streams().await;
    fleet.return_relay(busiest).await;
    let returned = Instant::now();
    let (_stranger, own) = within(RawServer::register(&url())).await;
    let own = own.exec_server.to_string();
    let mut strangers = JoinSet::new();
    let mut asking = JoinSet::new();
    for exec_server in 0..fleet.exec_servers.len() {
        let once = ChannelConfig {
            // One attempt.
            connect_timeout: Duration::ZERO,
            ..ChannelConfig::default()
        };
        asking.spawn(ask(fleet.client_with(exec_server, once), returned));
        let id = fleet.exec_servers[exec_server].ticket.exec_server.to_string();
        strangers.spawn(attack(id, own.clone(), returned));
    }
    let mut failed: Vec<_> = asking
        .join_all()
        .await
        .into_iter()
        .map(|asked| asked.failed_for)
        .collect();
    let believed = strangers.join_all().await.contains(&true);
    failed.sort();
    let longest = failed.last().copied().unwrap_or_default();
    let interrupted = failed.iter().filter(|time| !time.is_zero()).count();
    let detail = format!(
        "{interrupted} of {} exec-servers unreachable meanwhile, the last for {:.1} s; streams before, while it was away \
         and at the end: {streams:?} {away:?} {:?}",
        failed.len(),
        longest.as_secs_f64(),
        fleet.balancer.streams().await
    );
    let bound = match (is_full(), has_table) {
        (true, true) => WITH_TABLE,
        (true, false) => WITHOUT_TABLE,
        // With the table, still less than without it.
        (false, true) => WITHOUT_TABLE / 3,
        (false, false) => UNDER_LOAD,
    };
    match (believed, longest <= bound) {
        (true, _) => Err(format!("a stranger is registered: {detail}")),
        (false, true) => Ok(detail),
        (false, false) => Err(format!("more than {bound:?}: {detail}")),
    }
}

/// Returns whether the stranger, who has the registration `own`, was ever registered as `id`.
async fn attack(id: String, own: String, returned: Instant) -> bool {
    let mut believed = false;
    while returned.elapsed() < ASKED_FOR {
        believed |= register_as(&id).await.is_none();
        here_as(&id, &own).await;
        sleep(PAUSE).await;
    }
    believed
}

/// Connects with the retries of a usual client.
async fn connect_patiently(fleet: &Fleet, exec_server: usize) {
    let client = fleet.client(exec_server);
    within(client.connect())
        .await
        .expect("every exec-server can be reached");
    client.close().await;
}

struct Asked {
    /// The longest time from an attempt that failed to the next success.
    failed_for: Duration,
}

async fn ask(client: Client, returned: Instant) -> Asked {
    let mut failed_for = Duration::ZERO;
    let mut failing_since = None;
    while returned.elapsed() < ASKED_FOR {
        let began = Instant::now();
        let attempt = client.sibling();
        match within(attempt.connect()).await {
            Ok(_) => failing_since = None,
            Err(error) => {
                if failing_since.is_none() {
                    println!(
                        "  {:.1} s after the return: {error}",
                        returned.elapsed().as_secs_f64()
                    );
                }
                failing_since.get_or_insert(began);
            }
        }
        attempt.close().await;
        sleep(PAUSE).await;
        if let Some(since) = failing_since {
            failed_for = failed_for.max(since.elapsed());
        }
    }
    Asked { failed_for }
}
