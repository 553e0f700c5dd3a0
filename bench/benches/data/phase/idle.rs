//! A relay with many idle sessions, or three behind a balancer: their memory per session, and the latency of an active
//! session beside them.
//!
//! A relay allows 64 sessions per exec-server, so there are many exec-servers. Relay and exec-servers are the real
//! binary. The clients are a few processes with many sessions each.

use std::cell::RefCell;

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, fleet, in_sets, start_in_turns};
use baton_support::process::{RunningProgram, usage};

use super::{BenchContext, Compared};
use crate::bars;
use crate::limits::{CROWDS, SESSIONS};
use crate::peers::{Baton, key};

/// What the sessions pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relays {
    One,
    /// [`RELAYS`] relays behind HAProxy.
    Fleet,
}

/// Relays of a fleet.
const RELAYS: usize = 3;

impl Relays {
    /// Starts them, for this many sessions.
    fn start(self, sessions: usize) -> Result<Baton, Failure> {
        match self {
            Self::One => Baton::start(),
            Self::Fleet => Baton::start_fleet(RELAYS, fleet::balancers_for(sessions)),
        }
    }

    /// The beginning of the ids of its rows.
    fn id(self) -> &'static str {
        match self {
            Self::One => "idle",
            Self::Fleet => "fleet",
        }
    }

    /// Of the whole, where there are several.
    fn whose(self) -> &'static str {
        match self {
            Self::One => "relay",
            Self::Fleet => "three relays",
        }
    }
}

pub(super) fn measure(bench: &BenchContext, relays: Relays) -> Result<Vec<Row>, Failure> {
    let (sessions, sets, bar) = match relays {
        Relays::One => (bench.plan.idle, bench.plan.idle_sets, bars::IDLE_MEMORY),
        Relays::Fleet => (bench.plan.fleet, bench.plan.fleet_sets, bars::FLEET_RELAY_MEMORY),
    };
    let id = |of: &str| format!("{}_{of}", relays.id());
    if relays == Relays::Fleet
        && let Some(why) = fleet::missing()
    {
        let row = Row::absent(
            id("relay"),
            "three relays, for each idle session",
            Unit::Kibibytes,
            why,
        );
        return Ok(vec![row.bar(Some(bar))]);
    }
    let memory = RefCell::new(Memory::default());
    let request = format!("sequential {} {}", bench.plan.warm_up, bench.plan.executions);
    let start = |number: usize| {
        let mut beside = None;
        // The second stack alone is for A against A.
        let alone = start_in_turns(number, 3, |process| match process {
            0 => {
                beside = Some(Beside::start(relays, sessions, &request)?);
                Ok(None)
            }
            // As many processes as beside the sessions.
            _ => relays.start(sessions).map(Some),
        })?;
        let beside = beside.ok_or("no idle sessions")?;
        let alone: Vec<_> = alone.into_iter().flatten().collect();
        memory.borrow_mut().opened(number, &beside);
        Ok::<_, Failure>((beside, alone))
    };
    let visit = |(beside, alone): &(Beside, Vec<Baton>), visited: usize| match visited {
        0 => beside.baton.client.ask(&request),
        peer => alone[peer - 1].client.ask(&request),
    };
    let stop = |(beside, _): (Beside, Vec<Baton>)| memory.borrow_mut().later(&beside);
    let warmed = |number| {
        let processes = start(number)?;
        (0..3).try_for_each(|visited| visit(&processes, visited).map(drop))?;
        Ok(processes)
    };
    let measured = in_sets(sets, 3, warmed, visit, stop)?;
    let memory = memory.into_inner();
    let opened = memory.sessions;
    let kibibytes = |of: &str, what: String, bytes: &Rounds| {
        let estimate = bench.bootstrap.value(bytes, Statistic::Mean).times(1.0 / 1024.0);
        Row::new(id(of), what, Unit::Kibibytes, estimate, bytes)
    };
    let whose = relays.whose();
    let mut rows = vec![
        kibibytes(
            "relay",
            format!("{whose}, for each of {opened} idle sessions"),
            &memory.relay,
        )
        .bar(Some(bar)),
        kibibytes(
            "exec_server",
            format!("exec-server, for each of {opened} idle sessions"),
            &memory.exec_servers,
        ),
    ];
    if relays == Relays::Fleet {
        let processes = match fleet::balancers_for(sessions) {
            1 => "HAProxy".to_owned(),
            several => format!("{several} HAProxy processes together"),
        };
        let what = format!("{processes}, for each of {opened} idle sessions");
        rows.push(kibibytes("balancer", what, &memory.balancer).bar(Some(bars::FLEET_BALANCER_MEMORY)));
    }
    let [own, peer, peer_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let compared = Compared {
        own,
        peer,
        peer_again: Some(peer_again),
        bar: Some(bars::IDLE_RUN),
    };
    let what = format!("warm `Run` beside {opened} idle sessions over alone, p50, {whose}");
    rows.push(bench.ratio(id("run_p50"), what, compared, Statistic::P50));
    let what = format!("{whose}, for each of {opened} idle sessions, after that");
    rows.push(kibibytes("relay_later", what, &memory.relay_later));
    Ok(rows)
}

/// Bytes for each session, by process set.
#[derive(Default)]
struct Memory {
    sessions: f64,
    relay: Rounds,
    exec_servers: Rounds,
    balancer: Rounds,
    relay_later: Rounds,
}

impl Memory {
    fn opened(&mut self, set: usize, beside: &Beside) {
        self.sessions = beside.opened;
        self.relay.add(set, [beside.relay_bytes]);
        self.exec_servers.add(set, [beside.exec_server_bytes]);
        self.balancer.add(set, [beside.balancer_bytes]);
    }

    fn later(&mut self, beside: &Beside) -> Result<(), Failure> {
        beside.check()?;
        let now = relays_bytes(&beside.baton)?;
        let set = self.relay_later.len();
        self.relay_later
            .add(set, [(now - beside.relay_before) / beside.opened]);
        Ok(())
    }
}

/// A process set of Baton whose relay has many idle sessions.
struct Beside {
    baton: Baton,
    servers: Vec<RunningProgram>,
    _crowds: Vec<Worker>,
    /// The number of idle sessions.
    opened: f64,
    /// Memory of the relays before they were opened.
    relay_before: f64,
    /// Descriptors of the relays before they were opened.
    descriptors_before: usize,
    /// The growth of the relays for each session.
    relay_bytes: f64,
    /// The growth of the balancer for each session.
    balancer_bytes: f64,
    /// The growth of the exec-servers for each session.
    exec_server_bytes: f64,
}

impl Beside {
    /// `warm_up` is requested before memory is measured, because the relay allocates its buffers for it.
    fn start(relays: Relays, sessions: usize, warm_up: &str) -> Result<Self, Failure> {
        let baton = relays.start(sessions)?;
        baton.client.ask(warm_up)?;
        // The least number of exec-servers, all with the same number of sessions, which is rounded up.
        let count = sessions.div_ceil(SESSIONS);
        let each = sessions.div_ceil(count);
        let (servers, tickets): (Vec<_>, Vec<_>) = (0..count)
            .map(|number| {
                baton
                    .stack
                    .another_exec_server(&format!("exec_server_key_{number}"))
            })
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let of_servers = || {
            let each = servers.iter().map(|server| resident(server.pid()));
            each.sum::<Result<f64, _>>()
        };
        let (relay_before, servers_before) = (relays_bytes(&baton)?, of_servers()?);
        let balancer_before = balancer_bytes(&baton)?;
        let descriptors_before = descriptors(&baton)?;
        let key = key(&baton.stack)?;
        let (mut crowds, mut opened) = (Vec::new(), 0.0);
        for tickets in tickets.chunks(tickets.len().div_ceil(CROWDS)) {
            let mut arguments = vec!["crowd", &key[..]];
            arguments.extend(tickets.iter().map(String::as_str));
            let crowd = Worker::start(&arguments, None)?;
            opened += super::one(crowd.ask(format!("open {each}"))?)?;
            crowds.push(crowd);
        }
        let beside = Self {
            relay_bytes: (relays_bytes(&baton)? - relay_before) / opened,
            balancer_bytes: (balancer_bytes(&baton)? - balancer_before) / opened,
            exec_server_bytes: (of_servers()? - servers_before) / opened,
            baton,
            servers,
            _crowds: crowds,
            opened,
            relay_before,
            descriptors_before,
        };
        beside.check()?;
        Ok(beside)
    }

    /// Fails if sessions have ended. Each has a connection of its own to a relay, and each exec-server accepts over at
    /// least one.
    fn check(&self) -> Result<(), Failure> {
        let connections = descriptors(&self.baton)?.saturating_sub(self.descriptors_before);
        let least = self.opened as usize + self.servers.len();
        match connections >= least {
            true => Ok(()),
            false => {
                Err(format!("sessions have ended: relays have {connections} connections of {least}").into())
            }
        }
    }
}

/// Open descriptors of all relays together.
fn descriptors(baton: &Baton) -> Result<usize, Failure> {
    relays(baton)
        .map(|pid| Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
        .sum()
}

/// All relays together.
fn relays_bytes(baton: &Baton) -> Result<f64, Failure> {
    relays(baton).map(resident).sum()
}

fn relays(baton: &Baton) -> impl Iterator<Item = u32> {
    let (others, _) = beside(baton);
    let relays = std::iter::once(&baton.stack.relay).chain(others);
    relays.map(RunningProgram::pid)
}

/// All balancers together; 0 without one.
fn balancer_bytes(baton: &Baton) -> Result<f64, Failure> {
    let (_, balancers) = beside(baton);
    balancers.iter().map(|balancer| resident(balancer.pid())).sum()
}

/// The relays beside the first one, and the balancers.
fn beside(baton: &Baton) -> (&[RunningProgram], &[RunningProgram]) {
    let beside = baton.stack.beside();
    beside.split_at(beside.len().min(RELAYS - 1))
}

fn resident(pid: u32) -> Result<f64, Failure> {
    Ok(usage::resident_bytes(pid)? as f64)
}
