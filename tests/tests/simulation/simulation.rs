//! One simulation: a relay, an exec-server and its clients on a simulated network. It carries out the plan, ends every
//! fault, and waits until the components hold no resource for a client.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Notice, Server, ServerConfig};
use baton_core_client::Seed;
use baton_exec_server::ExecService;
use baton_exec_server::limits::MAX_PROCESSES;
use baton_proto::Features;
use baton_relay::{Config, Metrics, Relay};
use baton_trace::recorder::Recorder;
use turmoil::{Builder, Sim};

use crate::caller::ClientMachine;
use crate::history::{CallResult, Entry, Event, History, ServerEpoch};
use crate::network::{self, SimulatedListener};
use crate::plan::{Action, Host, Plan};
use crate::process::FakeBackend;

/// Resolution of virtual time on the network; timers are exact.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Longest time from the last fault to the end of every call: watchdogs, dials and backoff in sequence, and a minute to
/// recover.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longest time from the end of the last client until its resources are released: a peer that disappeared without
/// closing its connection is detected after 35 s, and the longest grace of a command is 60 s.
const SETTLING: Duration = Duration::from_secs(130);

/// Time for the relay's last messages to reach the exec-server, and for the exec-server to handle them.
const LAST_MESSAGES: Duration = Duration::from_secs(2);

/// The result of a simulation.
pub(crate) struct Outcome {
    pub(crate) entries: Vec<Entry>,
    pub(crate) elapsed: Duration,
}

/// State of the components that the driver reads from outside the simulation.
#[derive(Default)]
pub(crate) struct Probes {
    metrics: Mutex<Option<Arc<Metrics>>>,
    pub(crate) service: Mutex<Option<ExecService<FakeBackend>>>,
    /// Sessions that the current run of the exec-server serves.
    serving: AtomicU64,
}

struct Simulation<'a> {
    sim: Sim<'a>,
    plan: Arc<Plan>,
    history: History,
    probes: Arc<Probes>,
    epoch: Rc<Cell<u32>>,
    /// Machines that are down.
    down: Vec<Host>,
}

/// Runs a plan to its end.
pub(crate) fn simulate(plan: Plan) -> Outcome {
    let mut simulation = Simulation::build(Arc::new(plan));
    simulation.run();
    Outcome {
        elapsed: simulation.sim.elapsed(),
        entries: simulation.history.entries(),
    }
}

impl Simulation<'_> {
    fn build(plan: Arc<Plan>) -> Self {
        let (least, greatest) = plan.network.latency;
        let mut sim = Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(least)
            .max_message_latency(greatest)
            .tcp_capacity(plan.network.segments)
            .enable_random_order()
            .build();
        let history = History::default();
        let probes = Arc::new(Probes::default());
        let epoch = Rc::new(Cell::new(0));

        sim.host(name(Host::Relay), {
            let probes = Arc::clone(&probes);
            move || relay(Arc::clone(&probes))
        });
        let relay = SocketAddr::new(sim.lookup(name(Host::Relay)), network::PORT);
        let url = format!("http://{relay}");
        let key = Rc::new(Seed::from_bytes([7; 32]));
        let exec_server = ServerMachine {
            url: url.clone(),
            own_seed: Seed::from_bytes([9; 32]),
            client: Rc::clone(&key),
            plan: Arc::clone(&plan),
            history: history.clone(),
            probes: Arc::clone(&probes),
            epoch: Rc::clone(&epoch),
        };
        let ticket = exec_server.server().expect("a server with these keys").ticket();
        let exec_server = Rc::new(exec_server);
        sim.host(name(Host::Server), move || Rc::clone(&exec_server).run());
        for client in 0..plan.clients {
            let machine = ClientMachine::new(
                client,
                Arc::clone(&plan),
                history.clone(),
                ticket.clone(),
                Rc::clone(&key),
            );
            let machine = Rc::new(machine);
            sim.host(name(Host::Client(client)), move || Rc::clone(&machine).run());
        }
        Self {
            sim,
            plan,
            history,
            probes,
            epoch,
            down: Vec::new(),
        }
    }

    fn run(&mut self) {
        let plan = Arc::clone(&self.plan);
        let mut actions = plan.actions.iter().peekable();
        let mut have_ended = false;
        loop {
            let now = self.sim.elapsed();
            while let Some((_, action)) = actions.next_if(|(at, _)| *at <= now) {
                self.act(action);
            }
            if !have_ended && now >= plan.faults_end {
                have_ended = true;
                self.end_faults();
            }
            if self.have_clients_ended() || now > plan.faults_end + PATIENCE {
                break;
            }
            self.step();
        }
        let until = self.sim.elapsed() + SETTLING;
        while self.held() != (0, 0, 1) && self.sim.elapsed() < until {
            self.step();
        }
        let until = self.sim.elapsed() + LAST_MESSAGES;
        while self.sim.elapsed() < until {
            self.step();
        }
        let (processes, sessions, registrations) = self.held();
        self.history.add(Event::Settled {
            processes,
            sessions,
            registrations,
        });
    }

    fn step(&mut self) {
        self.history.advance(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            panic!("the program of a machine ended: {error}");
        }
    }

    /// Whether every client program has ended.
    fn have_clients_ended(&self) -> bool {
        (0..self.plan.clients).all(|own| {
            self.history
                .has(|event| matches!(event, Event::Recovered { client, .. } if *client == own))
        })
    }

    /// Processes, sessions at the relay and at the exec-server, registrations.
    fn held(&self) -> (usize, u64, u64) {
        let service = self.probes.service.lock().unwrap_or_else(PoisonError::into_inner);
        let processes = service.as_ref().map_or(0, ExecService::processes);
        let metrics = self.probes.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let relay = metrics
            .as_ref()
            .map(|metrics| metrics.snapshot())
            .unwrap_or_default();
        let sessions = relay.sessions_open + self.probes.serving.load(Ordering::Relaxed);
        (processes, sessions, relay.registrations)
    }

    fn act(&mut self, action: &Action) {
        self.history.add(Event::Fault(format!("{action:?}")));
        let relay = name(Host::Relay);
        match *action {
            Action::Partition(host) => self.sim.partition(name(host), relay),
            Action::PartitionOneWay {
                host,
                from_relay: true,
            } => self.sim.partition_oneway(relay, name(host)),
            Action::PartitionOneWay {
                host,
                from_relay: false,
            } => self.sim.partition_oneway(name(host), relay),
            Action::Repair(host) => self.sim.repair(name(host), relay),
            Action::Hold(host) => self.sim.hold(name(host), relay),
            Action::Release(host) => self.sim.release(name(host), relay),
            Action::Latency(host, latency) => self.sim.set_link_latency(name(host), relay, latency),
            Action::Crash { host, silent } => self.crash(host, silent),
            Action::Restart(host) => self.restart(host),
        }
    }

    /// The links of a machine, each named by its endpoint that is not the relay.
    fn links(&self, host: Host) -> Vec<Host> {
        match host {
            Host::Relay => (0..self.plan.clients)
                .map(Host::Client)
                .chain([Host::Server])
                .collect(),
            host => vec![host],
        }
    }

    fn crash(&mut self, host: Host, silent: bool) {
        if self.down.contains(&host) {
            return;
        }
        self.down.push(host);
        if silent {
            for end in self.links(host) {
                self.sim.partition(name(end), name(Host::Relay));
            }
        }
        // Tasks that the crash drops may still add events; the crash itself comes first in the history.
        let epoch = ServerEpoch(self.epoch.get());
        match host {
            Host::Relay => {}
            Host::Server => self.history.add(Event::ServerCrashed { epoch }),
            Host::Client(client) => self.end_open_calls(client),
        }
        self.sim.crash(name(host));
    }

    /// Adds the end of every open call of a client whose machine crashes.
    fn end_open_calls(&self, client: usize) {
        let entries = self.history.entries();
        let ended: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Ended { attempt, .. } => Some(*attempt),
                _ => None,
            })
            .collect();
        for entry in &entries {
            if let Event::Called { attempt, .. } = &entry.event
                && self.plan.client_of(*attempt) == Some(client)
                && !ended.contains(attempt)
            {
                let end = CallResult::Crashed;
                self.history.add(Event::Ended {
                    attempt: *attempt,
                    end,
                });
            }
        }
    }

    fn restart(&mut self, host: Host) {
        let Some(index) = self.down.iter().position(|down| *down == host) else {
            return;
        };
        self.down.swap_remove(index);
        for end in self.links(host) {
            self.sim.repair(name(end), name(Host::Relay));
        }
        self.sim.bounce(name(host));
    }

    /// Ends every fault that is still active: with overlapping faults, the end of one may leave another active.
    fn end_faults(&mut self) {
        for host in self.down.clone() {
            self.restart(host);
        }
        for end in self.links(Host::Relay) {
            self.sim.repair(name(end), name(Host::Relay));
            self.sim.release(name(end), name(Host::Relay));
            self.sim.set_link_latency(name(end), name(Host::Relay), TICK);
        }
        self.history.add(Event::FaultsEnded);
    }
}

fn name(host: Host) -> String {
    match host {
        Host::Relay => "relay".into(),
        Host::Server => "exec-server".into(),
        Host::Client(client) => format!("client-{client}"),
    }
}

/// Runs the relay once, from its start to its crash.
async fn relay(probes: Arc<Probes>) -> turmoil::Result {
    let listener = SimulatedListener::bind().await?;
    let local = listener.local_addr()?;
    let relay = Relay::with_listener(listener, local, Config::default());
    *probes.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(relay.metrics());
    relay.serve(std::future::pending()).await;
    Ok(())
}

/// An exec-server's machine, across restarts.
pub(crate) struct ServerMachine {
    pub(crate) url: String,
    pub(crate) own_seed: Seed,
    pub(crate) client: Rc<Seed>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) history: History,
    pub(crate) probes: Arc<Probes>,
    /// The number of the last run. Machines may share it.
    pub(crate) epoch: Rc<Cell<u32>>,
}

impl ServerMachine {
    pub(crate) fn server(&self) -> Result<Server, Box<dyn std::error::Error>> {
        let allow = AllowList::only(*self.client.client_key()?.public(), "simulated", Trust::Continue);
        let (history, probes) = (self.history.clone(), Arc::clone(&self.probes));
        let config = ServerConfig {
            recorder: Recorder::to(Arc::new(self.history.clone())),
            network: Some(network::network()),
            ..ServerConfig::default()
        };
        let server = Server::with_config(&self.url, &self.own_seed, allow, config)?;
        let features = [
            Features::OUTLIVES_SESSION,
            Features::ATTACH,
            Features::SIGNALS,
            Features::DETACHED,
        ];
        let server = features.into_iter().fold(server, Server::announce);
        Ok(server.on_notice(move |notice| {
            match notice {
                Notice::SessionStarted(_) => probes.serving.fetch_add(1, Ordering::Relaxed),
                Notice::SessionEnded(..) => probes.serving.fetch_sub(1, Ordering::Relaxed),
                _ => 0,
            };
            history.add(Event::Notice(describe(&notice)));
        }))
    }

    /// Runs the exec-server once, from its start to its crash.
    pub(crate) async fn run(self: Rc<Self>) -> turmoil::Result {
        self.epoch.set(self.epoch.get() + 1);
        self.probes.serving.store(0, Ordering::Relaxed);
        let epoch = ServerEpoch(self.epoch.get());
        let server = self.server()?;
        let fake = FakeBackend::new(self.history.clone(), Arc::clone(&self.plan), epoch);
        let service = ExecService::with_backend(server.epoch(), MAX_PROCESSES, fake);
        let service = match self.plan.kept_bytes {
            Some(bytes) => service.kept_bytes(bytes),
            None => service,
        };
        *self.probes.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service.clone());
        server
            .serve(service.into_server(), std::future::pending())
            .await?;
        Ok(())
    }
}

fn describe(notice: &Notice) -> String {
    match notice {
        Notice::Registered => "registered".into(),
        Notice::Moved => "registered with another relay".into(),
        Notice::Retrying(error, wait) => format!("registration failed, retrying in {wait:?}: {error}"),
        Notice::Refused(_) => "refused a client".into(),
        Notice::Expired(_) => "refused a client that has expired".into(),
        Notice::AllowListUnusable(error) => format!("the allow-list is unusable: {error}"),
        Notice::AcceptFailed(reason) => format!("a session was not accepted: {reason}"),
        Notice::SessionStarted(_) => "a session began".into(),
        Notice::SessionEnded(_, error, _) => format!("a session ended: {error}"),
    }
}
