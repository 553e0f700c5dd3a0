//! Several relays behind a balancer that hashes: exec-servers and clients know the balancer alone. Relays die, hang,
//! drain and return under their old names, in any order.
//!
//! * `plan`: what a seed determines; `balancer`: the balancer; `client`: the program on a client's machine;
//! * this file: the machines and the driver; [`check_fleet`](crate::check::check_fleet): the claims.
//!
//! A relay that hangs is a link that delays everything: its own timers go on, which those of a stopped process do not.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use baton_core_client::Seed;
use baton_exec_server::ExecService;
use baton_relay::{Config, Relay};
use tokio::sync::watch;
use turmoil::{Builder, Sim};

use self::balancer::Table;
use self::client::FleetClient;
use self::plan::{FleetPlan, RelayAction};
use crate::history::{Event, History};
use crate::network::{self, SimulatedListener};
use crate::simulation::{Outcome, Probes, ServerMachine, TICK};

mod balancer;
mod client;
pub(crate) mod plan;

/// The longest time for which an exec-server is unreachable, from the time at which the balancer knows all relays
/// again: the interval between two `Here`, with its jitter, and a registration.
const REACHABLE_WITHIN: Duration = Duration::from_secs(12);

/// The longest time from the last fault until every client program has ended.
const PATIENCE: Duration = Duration::from_secs(150);

/// The longest time from then until no process is left.
const SETTLING: Duration = Duration::from_secs(90);

const LAST_MESSAGES: Duration = Duration::from_secs(2);

const BALANCER: &str = "balancer";

struct Fleet<'a> {
    sim: Sim<'a>,
    plan: Arc<FleetPlan>,
    history: History,
    table: Arc<Table>,
    /// The order to drain, of each relay.
    drains: Vec<watch::Sender<Option<Duration>>>,
    probes: Vec<Arc<Probes>>,
    /// Set when every exec-server has to be reachable.
    must_reach: watch::Sender<bool>,
    down: Vec<usize>,
}

/// Runs a plan to its end.
pub(crate) fn simulate_fleet(plan: FleetPlan) -> Outcome {
    let mut fleet = Fleet::build(Arc::new(plan));
    fleet.run();
    Outcome {
        elapsed: fleet.sim.elapsed(),
        entries: fleet.history.entries(),
    }
}

impl Fleet<'_> {
    fn build(plan: Arc<FleetPlan>) -> Self {
        let commands = &plan.commands;
        let (least, greatest) = commands.network.latency;
        let mut sim = Builder::new()
            .rng_seed(commands.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(least)
            .max_message_latency(greatest)
            .tcp_capacity(commands.network.segments)
            .enable_random_order()
            .build();
        let history = History::default();
        let authority = SocketAddr::new(sim.lookup(BALANCER), network::PORT);
        let url = format!("http://{authority}");
        let drains: Vec<_> = (0..plan.relays).map(|_| watch::Sender::new(None)).collect();
        for (relay, drain) in drains.iter().enumerate() {
            let drain = drain.clone();
            sim.host(name(relay), move || {
                run_relay(authority.to_string(), drain.subscribe())
            });
        }
        let addresses: Vec<_> = (0..plan.relays)
            .map(|relay| SocketAddr::new(sim.lookup(name(relay)), network::PORT))
            .collect();
        let table = Arc::new(Table::new(addresses));
        sim.host(BALANCER, {
            let table = Arc::clone(&table);
            move || balancer::balance(Arc::clone(&table))
        });
        let key = Rc::new(Seed::from_bytes([7; 32]));
        let epoch = Rc::new(Cell::new(0));
        let mut tickets = Vec::new();
        let mut probes = Vec::new();
        for server in 0..plan.servers {
            let own = Arc::new(Probes::default());
            let machine = Rc::new(ServerMachine {
                url: url.clone(),
                own_seed: Seed::from_bytes([100 + server as u8; 32]),
                client: Rc::clone(&key),
                plan: Arc::clone(commands),
                history: history.clone(),
                probes: Arc::clone(&own),
                epoch: Rc::clone(&epoch),
            });
            tickets.push(machine.server().expect("a server with these keys").ticket());
            probes.push(own);
            sim.host(format!("exec-server-{server}"), move || Rc::clone(&machine).run());
        }
        let must_reach = watch::Sender::new(false);
        for client in 0..commands.clients {
            let machine = Rc::new(FleetClient {
                client,
                plan: Arc::clone(&plan),
                history: history.clone(),
                tickets: tickets.clone(),
                seed: Rc::clone(&key),
                must_reach: must_reach.subscribe(),
            });
            sim.host(format!("client-{client}"), move || Rc::clone(&machine).run());
        }
        Self {
            sim,
            plan,
            history,
            table,
            drains,
            probes,
            must_reach,
            down: Vec::new(),
        }
    }

    fn run(&mut self) {
        let plan = Arc::clone(&self.plan);
        let mut actions = plan.actions.iter().peekable();
        let mut have_ended = false;
        let mut whole_since = None;
        loop {
            let now = self.sim.elapsed();
            while let Some((_, action)) = actions.next_if(|(at, _)| *at <= now) {
                self.act(*action);
            }
            if !have_ended && now >= plan.faults_end {
                have_ended = true;
                self.end_faults();
            }
            if have_ended && self.table.is_whole() {
                let since = *whole_since.get_or_insert(now);
                if now >= since + REACHABLE_WITHIN {
                    self.must_reach.send_replace(true);
                }
            } else {
                whole_since = None;
            }
            if self.have_clients_ended() || now > plan.faults_end + PATIENCE {
                break;
            }
            self.step();
        }
        let until = self.sim.elapsed() + SETTLING;
        while self.processes() > 0 && self.sim.elapsed() < until {
            self.step();
        }
        let until = self.sim.elapsed() + LAST_MESSAGES;
        while self.sim.elapsed() < until {
            self.step();
        }
    }

    fn step(&mut self) {
        self.history.advance(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            panic!("the program of a machine ended: {error}");
        }
    }

    fn have_clients_ended(&self) -> bool {
        (0..self.plan.commands.clients).all(|own| {
            self.history
                .has(|event| matches!(event, Event::Recovered { client, .. } if *client == own))
        })
    }

    fn processes(&self) -> usize {
        let of = |probes: &Arc<Probes>| {
            let service = probes.service.lock().unwrap_or_else(PoisonError::into_inner);
            service.as_ref().map_or(0, ExecService::processes)
        };
        self.probes.iter().map(of).sum()
    }

    fn act(&mut self, action: RelayAction) {
        self.history.add(Event::Fault(format!("{action:?}")));
        match action {
            RelayAction::Kill { relay, silent } => {
                if self.down.contains(&relay) {
                    return;
                }
                self.down.push(relay);
                if silent {
                    self.sim.partition(BALANCER, name(relay));
                }
                self.sim.crash(name(relay));
            }
            RelayAction::Hang(relay) => self.sim.hold(BALANCER, name(relay)),
            RelayAction::GoOn(relay) => self.sim.release(BALANCER, name(relay)),
            RelayAction::Drain(relay, limit) => {
                if !self.down.contains(&relay) {
                    // It ends by itself.
                    self.down.push(relay);
                    self.drains[relay].send_replace(Some(limit));
                }
            }
            RelayAction::Return(relay) => self.bring_back(relay),
        }
    }

    fn bring_back(&mut self, relay: usize) {
        let Some(index) = self.down.iter().position(|down| *down == relay) else {
            return;
        };
        self.down.swap_remove(index);
        self.drains[relay].send_replace(None);
        self.sim.repair(BALANCER, name(relay));
        self.sim.bounce(name(relay));
    }

    /// Ends every fault that is still active: with overlapping faults, the end of one may leave another active.
    fn end_faults(&mut self) {
        for relay in 0..self.plan.relays {
            self.bring_back(relay);
            self.sim.repair(BALANCER, name(relay));
            self.sim.release(BALANCER, name(relay));
        }
        self.history.add(Event::FaultsEnded);
    }
}

fn name(relay: usize) -> String {
    format!("relay-{relay}")
}

/// Runs a relay once, from its start to its death, or to the end of its drain.
async fn run_relay(authority: String, mut drain: watch::Receiver<Option<Duration>>) -> turmoil::Result {
    let listener = SimulatedListener::bind().await?;
    let local = listener.local_addr()?;
    let config = Config {
        authorities: vec![authority],
        ..Config::default()
    };
    let relay = Relay::with_listener(listener, local, config);
    let draining = relay.drain();
    let shutdown = async {
        let limit = match drain.wait_for(Option::is_some).await {
            Ok(limit) => limit.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        };
        draining.begin();
        draining.finish(limit, std::future::pending()).await;
    };
    relay.serve(shutdown).await;
    Ok(())
}
