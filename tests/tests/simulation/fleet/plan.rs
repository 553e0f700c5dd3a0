//! What a seed determines of a fleet: the machines, the commands, and the faults of relays.

use std::sync::Arc;
use std::time::Duration;

use crate::history::RunId;
use crate::plan::{Caller, Network, Plan, Random, RunPlan, Script};

/// See the [module](self). Times are virtual, from the start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FleetPlan {
    pub(crate) relays: usize,
    pub(crate) servers: usize,
    /// The clients and their commands. It has no faults.
    pub(crate) commands: Arc<Plan>,
    /// Sorted by time.
    pub(crate) actions: Vec<(Duration, RelayAction)>,
    /// The time at which every fault ends.
    pub(crate) faults_end: Duration,
}

/// One change of a relay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RelayAction {
    /// It dies. If `silent`, its connections are not reset.
    Kill { relay: usize, silent: bool },
    /// It does not answer any more, and keeps its connections.
    Hang(usize),
    /// It goes on where it hung.
    GoOn(usize),
    /// It drains for at most this long, and ends.
    Drain(usize, Duration),
    /// It starts anew under its old name.
    Return(usize),
}

/// The longest grace of a command is a minute. Within it all faults have ended, and every relay has been found again.
const LAST_FAULT: u64 = 15_000;
const LONGEST_FAULT: u64 = 12_000;

impl FleetPlan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Random::of(seed);
        let network = Network {
            latency: (
                Duration::from_millis(1),
                Duration::from_millis(rng.one_of(&[2, 10, 30])),
            ),
            segments: rng.one_of(&[128, 1024]),
        };
        let (relays, servers, clients) = (rng.between(2, 4), rng.between(2, 6), rng.between(1, 2));
        let runs = (0..rng.between(6, 16))
            .map(|_| command(clients, &mut rng))
            .collect();
        let mut actions = Vec::new();
        for _ in 0..rng.between(1, 5) {
            fault(relays, &mut rng, &mut actions);
        }
        actions.sort_by_key(|(at, _)| *at);
        let last = actions.last().map_or(Duration::ZERO, |(at, _)| *at);
        let faults_end = last + Duration::from_millis(100);
        Self {
            relays,
            servers,
            commands: Arc::new(Plan {
                seed,
                network,
                clients,
                kept_bytes: None,
                runs,
                actions: Vec::new(),
                faults_end,
            }),
            actions,
            faults_end,
        }
    }

    /// The exec-server of a command.
    pub(crate) fn server_of(&self, run: RunId) -> usize {
        run.0 as usize % self.servers
    }
}

fn command(clients: usize, rng: &mut Random) -> RunPlan {
    RunPlan {
        client: rng.between(0, clients - 1),
        at: rng.time(500, 25_000),
        caller: Caller::Library {
            stdin: None,
            patience: None,
            drain: Duration::from_secs(2),
            grace: Duration::from_secs(60),
        },
        // A slow reader keeps a session open while its relay drains.
        reader_pause: rng.one_of(&[Duration::ZERO, Duration::from_millis(100)]),
        script: Script::of(rng),
        drops_output: false,
        companions: Vec::new(),
    }
}

/// Adds one fault of one relay, and its end.
fn fault(relays: usize, rng: &mut Random, actions: &mut Vec<(Duration, RelayAction)>) {
    let relay = rng.between(0, relays - 1);
    let at = rng.time(1_000, LAST_FAULT);
    let end = at + rng.skewed(100, LONGEST_FAULT);
    match rng.between(0, 3) {
        0 | 1 => {
            let silent = rng.chance(0.4);
            actions.push((at, RelayAction::Kill { relay, silent }));
            actions.push((end, RelayAction::Return(relay)));
        }
        2 => {
            actions.push((at, RelayAction::Hang(relay)));
            actions.push((end, RelayAction::GoOn(relay)));
        }
        _ => {
            let limit = rng.time(0, 5_000);
            actions.push((at, RelayAction::Drain(relay, limit)));
            actions.push((end + limit, RelayAction::Return(relay)));
        }
    }
}
