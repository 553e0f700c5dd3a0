//! The two phases, which differ in the load.

use std::cell::RefCell;

use baton_bench::stats::{Bar, Bootstrap, Rounds, Statistic};
use baton_bench::{Failure, Phase, Row, Unit, Worker, start_in_turns};
use baton_support::process::Stack;

use crate::bars;
use crate::options::Plan;

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<BenchContext>); 2] = [
    ("idle", |bench| measure(bench, Load::Idle)),
    ("busy", |bench| measure(bench, Load::Busy)),
];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// The state that all phases share.
pub(crate) struct BenchContext {
    pub(crate) plan: Plan,
    pub(crate) bootstrap: Bootstrap,
}

impl BenchContext {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
        }
    }
}

/// What runs beside the keystrokes, of Baton and of the local terminal alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Idle,
    /// Another process of Baton's session writes at full speed.
    Busy,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "beside a process at full speed",
        }
    }

    fn bar(self) -> Bar {
        match self {
            Self::Idle => bars::IDLE,
            Self::Busy => bars::BUSY,
        }
    }
}

/// The clients by participant; the second local one is for A against A.
struct Clients {
    _stack: Stack,
    clients: Vec<Worker>,
}

/// Milliseconds of each keystroke.
type Keys = Vec<f64>;

fn measure(bench: &BenchContext, load: Load) -> Result<Vec<Row>, Failure> {
    let start = |set| {
        let stack = Stack::start(None)?;
        let key = stack.client_key();
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let clients = start_in_turns(set, 3, |participant| match participant {
            0 => Worker::start(&["baton", stack.ticket(), key], None),
            _ => Worker::start(&["local"], None),
        })?;
        if load == Load::Busy {
            clients[0].ask("stream")?;
        }
        // Uncounted.
        clients.iter().try_for_each(|client| keys(client, 5).map(drop))?;
        Ok(Clients {
            _stack: stack,
            clients,
        })
    };
    let visit = |set: &Clients, visited: usize| -> Result<[Keys; 1], Failure> {
        Ok([keys(&set.clients[visited], bench.plan.keys)?])
    };
    let rates = RefCell::new(Rounds::new());
    let stop = |set: Clients| {
        if load == Load::Busy {
            let rate = set.clients[0].ask("rate")?;
            let mut rates = rates.borrow_mut();
            let number = rates.len();
            rates.add(number, rate);
        }
        Ok(())
    };
    let [measured] = bench.plan.sets.measure(3, start, visit, stop)?;
    let [baton, local, local_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let mut rows = rows(bench, load, baton, local, local_again);
    if load == Load::Busy {
        let rates = rates.into_inner();
        // The samples are bytes per second.
        let estimate = bench.bootstrap.value(&rates, Statistic::Mean).times(1e-6);
        let what = "the process at full speed, meanwhile";
        rows.push(Row::new(
            "busy_rate",
            what,
            Unit::MegabytesPerSecond,
            estimate,
            &rates,
        ));
    }
    Ok(rows)
}

fn rows(bench: &BenchContext, load: Load, baton: &Rounds, local: &Rounds, local_again: &Rounds) -> Vec<Row> {
    let (name, text) = (load.name(), load.text());
    let mut rows = Vec::new();
    for (quantile, statistic, bar) in [
        ("p50", Statistic::P50, Some(load.bar())),
        ("p99", Statistic::P99, None),
    ] {
        let more = |of| bench.bootstrap.difference(of, local, statistic);
        let what = format!("keystroke echo over a local PTY, {text}: more, {quantile}");
        let row = Row::new(
            format!("{name}_more_{quantile}"),
            what,
            Unit::Milliseconds,
            more(baton),
            baton,
        );
        rows.push(row.noise(more(local_again)).bar(bar));
        for (of, id, samples) in [("Baton", "baton", baton), ("a local PTY", "local", local)] {
            let estimate = bench.bootstrap.value(samples, statistic);
            let what = format!("keystroke echo, {of}, {text}, {quantile}");
            let id = format!("{name}_{id}_{quantile}");
            rows.push(Row::new(id, what, Unit::Milliseconds, estimate, samples));
        }
    }
    rows
}

fn keys(client: &Worker, count: usize) -> Result<Keys, Failure> {
    client.ask(format!("keys {count}"))
}
