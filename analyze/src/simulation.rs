//! Simulated recordings of two sides, for tests.
//!
//! A call has 24 stages. Each run of a stage varies by 10 % (log-normal), and one run in fifty is disturbed: that stage
//! takes 1.5 to 4 times as long. Each block of each side deviates in two ways, half of the variance each: all stages
//! together, as by the machine's state, and each stage by itself, as by memory layout. The blocks of a pair share
//! nothing, which is the hardest case: what they share cancels.

use crate::runs::{Run, Runs};
use crate::stats::Random;

/// The stages and their parts of the envelope, in per cent.
pub(crate) const STAGES: [(&str, f64); 24] = [
    ("dispatch", 4.0),
    ("client.queue", 1.0),
    ("client.seal", 0.5),
    ("transit", 10.0),
    ("relay.queue", 1.0),
    ("relay.forward", 0.5),
    ("server.open", 0.5),
    ("server.queue", 1.0),
    ("start.durable", 3.0),
    ("process.spawn", 12.0),
    ("process.wait", 40.0),
    ("process.close", 2.0),
    ("process.first_output", 1.5),
    ("process.stdout", 1.0),
    ("process.stderr", 1.0),
    ("family.cli_ready", 2.0),
    ("family.session_init", 3.0),
    ("family.first_output", 2.0),
    ("terminal.queue", 1.0),
    ("terminal.seal", 0.5),
    ("terminal.transit", 10.0),
    ("terminal.relay.queue", 1.0),
    ("terminal.open", 0.5),
    ("terminal.notify", 1.0),
];

/// The envelope of an undisturbed run: 10 ms.
const ENVELOPE_NS: f64 = 10e6;

/// The standard deviation of one run within its block, as a part.
pub(crate) const WITHIN: f64 = 0.1;

/// Two recordings to be made.
#[derive(Debug, Clone)]
pub(crate) struct Simulation {
    random: Random,
    blocks: usize,
    runs: usize,
    between: f64,
    is_paired: bool,
    a_first: bool,
    apart: bool,
    drift: f64,
    factors: [f64; STAGES.len()],
}

impl Simulation {
    /// Two equal sides: 40 interleaved pairs of blocks with 5 runs a side, and 5 % between blocks.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            blocks: 40,
            runs: 5,
            between: 0.05,
            is_paired: true,
            a_first: false,
            apart: false,
            drift: 0.0,
            factors: [1.0; STAGES.len()],
        }
    }

    /// The number of blocks of each side.
    pub(crate) fn blocks(self, blocks: usize) -> Self {
        Self { blocks, ..self }
    }

    /// The standard deviation of blocks, as a part.
    pub(crate) fn between(self, between: f64) -> Self {
        Self { between, ..self }
    }

    /// The recordings name no pairs.
    pub(crate) fn unpaired(self) -> Self {
        Self {
            is_paired: false,
            ..self
        }
    }

    /// A is the first of every pair.
    pub(crate) fn a_first(self) -> Self {
        Self {
            a_first: true,
            ..self
        }
    }

    /// All of A is recorded before B.
    pub(crate) fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// The machine becomes slower by this part from beginning to end.
    pub(crate) fn drift(self, drift: f64) -> Self {
        Self { drift, ..self }
    }

    /// B takes this many times as long in one stage.
    pub(crate) fn slower(mut self, stage: &str, factor: f64) -> Self {
        for (one, (name, _)) in self.factors.iter_mut().zip(STAGES) {
            if name == stage {
                *one = factor;
            }
        }
        self
    }

    /// Records A and B.
    pub(crate) fn record(mut self) -> (Runs, Runs) {
        let mut sides = [Runs::new(), Runs::new()];
        for block in 0..self.blocks {
            for turn in 0..2 {
                let side = if self.a_first { turn } else { (block + turn) % 2 };
                let at = match self.apart {
                    true => side * self.blocks + block,
                    false => 2 * block + turn,
                };
                self.record_block(&mut sides[side], side, block, at);
            }
        }
        let [a, b] = sides;
        (a, b)
    }

    /// `at`: the number of the block in time, over both sides.
    fn record_block(&mut self, runs: &mut Runs, side: usize, block: usize, at: usize) {
        let half = self.between / 2f64.sqrt();
        let drift = 1.0 + self.drift * at as f64 / (2 * self.blocks) as f64;
        let machine = (half * self.random.normal()).exp() * drift;
        let layout = STAGES.map(|_| (half * self.random.normal()).exp());
        for index in 0..self.runs {
            let run = Run {
                trace: format!("{:016x}{:016x}", self.random.bits(), self.random.bits()),
                block: format!("{}{block}", ["a", "b"][side]),
                pair: self.is_paired.then(|| block.to_string()),
                started_ns: ((at * self.runs + index) as u64) * 20_000_000,
                turn: None,
                succeeded: true,
                ..Run::default()
            };
            let durations: [f64; STAGES.len()] = std::array::from_fn(|stage| {
                let (_, share) = STAGES[stage];
                let factor = if side == 1 { self.factors[stage] } else { 1.0 };
                let noise = (WITHIN * self.random.normal()).exp();
                let disturbed = match self.random.below(50) {
                    0 => 1.5 + 2.5 * self.random.unit(),
                    _ => 1.0,
                };
                ENVELOPE_NS * share / 100.0 * machine * layout[stage] * factor * noise * disturbed
            });
            let stages = STAGES
                .iter()
                .zip(durations)
                .map(|((name, _), ns)| (*name, ns as u64));
            runs.add(run, stages);
        }
    }
}
