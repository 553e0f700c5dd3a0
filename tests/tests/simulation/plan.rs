//! What a seed determines: the machines and the network, the commands with their times and scripts, the pauses of slow
//! peers, and every fault.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::companion;
use crate::history::{Attempt, Output, RunId};

/// The planned commands and faults of a simulation. Times are virtual, from its start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) network: Network,
    pub(crate) clients: usize,
    /// Output that the exec-server keeps for clients that attach; `None`: its default.
    pub(crate) kept_bytes: Option<usize>,
    /// Indexed by [`RunId`].
    pub(crate) runs: Vec<RunPlan>,
    /// Sorted by time.
    pub(crate) actions: Vec<(Duration, Action)>,
    /// The time at which every fault ends. All runs have been called by then.
    pub(crate) faults_end: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    /// Least and greatest latency of a segment.
    pub(crate) latency: (Duration, Duration),
    /// Segments that a connection buffers before its writer waits.
    pub(crate) segments: usize,
}

/// A command, its client, and how the client calls it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunPlan {
    pub(crate) client: usize,
    pub(crate) at: Duration,
    pub(crate) caller: Caller,
    /// Pause before reading each event.
    pub(crate) reader_pause: Duration,
    pub(crate) script: Script,
    /// A full log drops the oldest output. Otherwise the process blocks.
    pub(crate) drops_output: bool,
    /// Further calls for the process, by other callers with the same key.
    pub(crate) companions: Vec<Companion>,
}

/// A further call for a process that another caller starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Companion {
    pub(crate) client: usize,
    /// After the start.
    pub(crate) after: Duration,
    /// Pause before reading each event.
    pub(crate) reader_pause: Duration,
    pub(crate) role: Role,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// Attaches through the client library, and continues the standard input.
    Attach {
        /// Drops the call after this time, which kills the process.
        patience: Option<Duration>,
    },
    /// Attaches without the client library, as [`Caller::Insistent`].
    Insist {
        /// Drops the call after this time, which kills the process unless another call has the lease.
        patience: Option<Duration>,
    },
    /// Reads the events beside the call that has the lease.
    Watch,
    /// Asks for the events, each time for at most this long.
    Poll { wait: Duration },
    /// Waits for the exit.
    Wait,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Caller {
    /// Calls through the client library.
    Library {
        /// Bytes of standard input, and the pause before each chunk.
        stdin: Option<(usize, Duration)>,
        /// Drops the call after this time.
        patience: Option<Duration>,
        /// The drain time that the command requests: how long output may follow the exit.
        drain: Duration,
        /// How long the command outlives its session, within which the client attaches to it again.
        grace: Duration,
    },
    /// Sends the same `Start` again after a failure, with the same process id and epoch, at most `attempts` times in
    /// total.
    Repeating { attempts: u32 },
    /// Starts a process that no call is attached to, through the client library. When all faults have ended, a call of
    /// the same client attaches to it.
    Detached,
    /// Starts a process with a grace of a minute without the client library, and does not recover. While it has the
    /// lease it sends signals of its own and standard input. It goes on to send them when another call has the lease,
    /// with requests that would kill the process.
    Insistent {
        /// Bytes of standard input.
        stdin: usize,
    },
}

impl Caller {
    /// Bytes of standard input that the callers of a process send in total.
    pub(crate) fn stdin(&self) -> usize {
        match self {
            Self::Library { stdin, .. } => stdin.map_or(0, |(bytes, _)| bytes),
            Self::Insistent { stdin } => *stdin,
            Self::Repeating { .. } | Self::Detached => 0,
        }
    }
}

/// What a process does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    /// A pause, then a write of this many bytes to the output.
    pub(crate) writes: Vec<(Duration, Output, usize)>,
    /// Pause before each read of standard input.
    pub(crate) stdin_pause: Duration,
    pub(crate) code: i32,
    /// A descendant outside the process group holds standard output open for this long after the exit.
    pub(crate) descendant: Option<Duration>,
    pub(crate) ignores_sigterm: bool,
}

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Relay,
    Server,
    Client(usize),
}

/// One change of a machine or of its link. Every link connects a machine to the relay.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Messages in both directions are lost without an error.
    Partition(Host),
    /// Messages in one direction are lost without an error.
    PartitionOneWay {
        host: Host,
        from_relay: bool,
    },
    Repair(Host),
    /// Messages in both directions are delayed until [`Action::Release`].
    Hold(Host),
    Release(Host),
    Latency(Host, Duration),
    /// The machine crashes. If `silent`, its connections do not send a reset to their peers.
    Crash {
        host: Host,
        silent: bool,
    },
    Restart(Host),
}

const FIRST_START: Duration = Duration::from_millis(500);
const LAST_START: Duration = Duration::from_secs(9);

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Random::of(seed);
        let network = Network {
            latency: (
                Duration::from_millis(1),
                Duration::from_millis(rng.one_of(&[2, 20, 80])),
            ),
            segments: rng.one_of(&[32, 128, 1024]),
        };
        let clients = rng.between(1, 3);
        let kept_bytes = rng.one_of(&[None, None, Some(0), Some(300_000)]);
        let mut runs: Vec<_> = (0..rng.between(3, 8))
            .map(|_| RunPlan::of(clients, &mut rng))
            .collect();
        if rng.chance(0.3) {
            // All nearly at once, before any session exists.
            let first = runs[0].at;
            for run in &mut runs {
                run.at = first + rng.time(0, 100);
            }
        }
        let faults = rng.one_of(&[0, 1, 1, 2, 2, 3, 4]);
        let mut actions = Vec::new();
        for _ in 0..faults {
            fault(clients, &mut rng, &mut actions);
        }
        actions.sort_by_key(|(at, _)| *at);
        let faults = actions.iter().map(|(at, _)| *at);
        let starts = runs
            .iter()
            .flat_map(|run| run.companions.iter().map(|companion| run.at + companion.after));
        let starts = starts.chain(runs.iter().map(|run| run.at));
        let faults_end = starts.chain(faults).max();
        Self {
            seed,
            network,
            clients,
            kept_bytes,
            runs,
            actions,
            faults_end: faults_end.unwrap_or_default() + Duration::from_millis(100),
        }
    }

    pub(crate) fn run(&self, run: RunId) -> Option<&RunPlan> {
        self.runs.get(run.0 as usize)
    }

    /// The client that makes this attempt.
    pub(crate) fn client_of(&self, attempt: Attempt) -> Option<usize> {
        let run = self.run(attempt.run)?;
        let companion = companion::index_of(attempt).and_then(|index| run.companions.get(index));
        Some(companion.map_or(run.client, |companion| companion.client))
    }

    pub(crate) fn runs_of(&self, client: usize) -> impl Iterator<Item = (RunId, &RunPlan)> {
        self.numbered().filter(move |(_, run)| run.client == client)
    }

    /// The further calls of a client, each with its number among those of its run.
    pub(crate) fn companions_of(
        &self,
        client: usize,
    ) -> impl Iterator<Item = (RunId, &RunPlan, u32, &Companion)> {
        let all = self.numbered().flat_map(|(id, run)| {
            let companions = (0..).zip(&run.companions);
            companions.map(move |(number, companion)| (id, run, number, companion))
        });
        all.filter(move |(.., companion)| companion.client == client)
    }

    fn numbered(&self) -> impl Iterator<Item = (RunId, &RunPlan)> {
        (0..).map(RunId).zip(&self.runs)
    }
}

impl Script {
    /// The command with which a client checks that it has recovered.
    pub(crate) fn probe() -> Self {
        Self {
            writes: vec![(Duration::ZERO, Output::Stdout, 100)],
            stdin_pause: Duration::ZERO,
            code: 0,
            descendant: None,
            ignores_sigterm: false,
        }
    }

    /// A command that writes more than the log, the windows and the pipes on the way to a slow reader hold.
    fn flood(rng: &mut Random) -> Self {
        let writes = (0..rng.between(10, 14))
            .map(|_| {
                let output = rng.one_of(&[Output::Stdout, Output::Stdout, Output::Stderr]);
                (rng.time(0, 20), output, rng.between(250_000, 300_000))
            })
            .collect();
        Self {
            writes,
            ..Self::of(rng)
        }
    }

    pub(crate) fn of(rng: &mut Random) -> Self {
        let is_bulk = rng.chance(0.15);
        let writes = (0..rng.between(0, 12))
            .map(|_| {
                let pause = if rng.chance(0.5) {
                    Duration::ZERO
                } else {
                    rng.time(1, 400)
                };
                let output = if rng.chance(0.7) {
                    Output::Stdout
                } else {
                    Output::Stderr
                };
                let bytes = if is_bulk {
                    rng.between(1, 300_000)
                } else {
                    rng.between(1, 3_000)
                };
                (pause, output, bytes)
            })
            .collect();
        Self {
            writes,
            stdin_pause: if rng.chance(0.3) {
                rng.time(1, 60)
            } else {
                Duration::ZERO
            },
            code: rng.one_of(&[0, 0, 1, 255]),
            descendant: rng.chance(0.15).then(|| rng.time(1, 4_000)),
            ignores_sigterm: rng.chance(0.2),
        }
    }
}

impl RunPlan {
    fn of(clients: usize, rng: &mut Random) -> Self {
        let script = Script::of(rng);
        let caller = Caller::of(rng);
        let mut run = Self {
            client: rng.between(0, clients - 1),
            at: rng.time(FIRST_START.as_millis() as u64, LAST_START.as_millis() as u64),
            caller,
            reader_pause: pause(rng),
            script,
            drops_output: false,
            companions: Vec::new(),
        };
        run.accompany(clients, rng);
        if rng.chance(match run.caller {
            Caller::Library { .. } => 0.25,
            Caller::Detached => 0.5,
            Caller::Repeating { .. } | Caller::Insistent { .. } => 0.0,
        }) {
            run.drops_output = rng.chance(0.6);
            run.script = Script::flood(rng);
            run.reader_pause = rng.time(20, 150);
        }
        run
    }

    fn accompany(&mut self, clients: usize, rng: &mut Random) {
        let (chance, most) = match self.caller {
            Caller::Library { .. } => (0.5, 2),
            Caller::Detached => (0.8, 3),
            Caller::Insistent { .. } => (1.0, 2),
            Caller::Repeating { .. } => (0.0, 0),
        };
        if !rng.chance(chance) {
            return;
        }
        let is_contested = matches!(self.caller, Caller::Insistent { .. });
        for index in 0..rng.between(1, most) {
            let patience = rng.chance(0.2).then(|| rng.time(100, 3_000));
            let role = match is_contested && (index == 0 || rng.chance(0.6)) {
                true => Role::Insist { patience },
                false => Role::of(is_contested, patience, rng),
            };
            self.companions.push(Companion {
                client: rng.between(0, clients - 1),
                after: rng.skewed(20, if is_contested { 2_500 } else { 8_000 }),
                reader_pause: pause(rng),
                role,
            });
        }
    }
}

impl Caller {
    fn of(rng: &mut Random) -> Self {
        match rng.between(0, 19) {
            0..=4 => Self::Repeating {
                attempts: rng.between(2, 4) as u32,
            },
            5..=7 => Self::Detached,
            8..=10 => Self::Insistent {
                stdin: rng.one_of(&[20_000, 100_000, 300_000]),
            },
            _ => Self::Library {
                stdin: rng.chance(0.4).then(|| {
                    let pause = if rng.chance(0.5) {
                        Duration::ZERO
                    } else {
                        rng.time(1, 100)
                    };
                    (rng.one_of(&[0, 10, 5_000, 200_000]), pause)
                }),
                patience: rng.chance(0.2).then(|| rng.time(1, 3_000)),
                drain: rng.time(0, 3_000),
                grace: Duration::from_secs(rng.one_of(&[0, 5, 60, 60])),
            },
        }
    }
}

impl Role {
    /// `is_contested`: only calls without the client library have the lease.
    fn of(is_contested: bool, patience: Option<Duration>, rng: &mut Random) -> Self {
        match rng.between(if is_contested { 3 } else { 0 }, 9) {
            0..=2 => Self::Attach { patience },
            3..=6 => Self::Watch,
            7 | 8 => Self::Poll {
                wait: Duration::from_millis(rng.one_of(&[0, 300, 10_000])),
            },
            _ => Self::Wait,
        }
    }
}

fn pause(rng: &mut Random) -> Duration {
    match rng.chance(0.25) {
        true => rng.time(1, 150),
        false => Duration::ZERO,
    }
}

/// Adds one fault and its end.
fn fault(clients: usize, rng: &mut Random, actions: &mut Vec<(Duration, Action)>) {
    let at = rng.time(300, 10_000);
    let end = at + rng.skewed(20, 30_000);
    let host = match rng.between(0, clients) {
        0 => Host::Server,
        client => Host::Client(client - 1),
    };
    match rng.between(0, 9) {
        0 | 1 => {
            actions.push((at, Action::Partition(host)));
            actions.push((end, Action::Repair(host)));
        }
        2 => {
            let from_relay = rng.chance(0.5);
            actions.push((at, Action::PartitionOneWay { host, from_relay }));
            actions.push((end, Action::Repair(host)));
        }
        3 | 4 => {
            actions.push((at, Action::Hold(host)));
            actions.push((end, Action::Release(host)));
        }
        5 => {
            actions.push((at, Action::Latency(host, rng.time(100, 1_500))));
            actions.push((end, Action::Latency(host, Duration::from_millis(5))));
        }
        crash => {
            let host = if crash == 6 { Host::Relay } else { host };
            let silent = rng.chance(0.4);
            let end = at + rng.skewed(20, 8_000);
            actions.push((at, Action::Crash { host, silent }));
            actions.push((end, Action::Restart(host)));
        }
    }
}

/// The choices that a seed determines.
pub(crate) struct Random(StdRng);

impl Random {
    pub(crate) fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }

    pub(crate) fn between(&mut self, least: usize, most: usize) -> usize {
        self.0.random_range(least..=most)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.random_range(0..choices.len())]
    }

    /// A uniformly distributed time. The bounds are in milliseconds.
    pub(crate) fn time(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.random_range(least..=most))
    }

    /// A log-uniformly distributed time, so that each order of magnitude is as likely. The bounds are in milliseconds.
    pub(crate) fn skewed(&mut self, least: u64, most: u64) -> Duration {
        let (least, most) = ((least as f64).ln(), (most as f64).ln());
        Duration::from_secs_f64(self.0.random_range(least..=most).exp() / 1e3)
    }
}
