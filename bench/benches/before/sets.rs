//! The phases: visits process sets in turns and computes rows.

use std::time::Duration;

use baton_bench::stats::{Bar, Bootstrap, Rounds, Statistic};
use baton_bench::{Failure, Phase, Row, Unit, Worker, interleave};

use crate::options::Plan;
use crate::side::{ClientOf, ProcessSet, Side};

/// The bar of every ratio, later commit over earlier.
const BAR: Bar = Bar::AtMost(1.03);

/// All phases by name, in order.
pub(crate) const ALL: [(&str, Phase<Sets>); 3] =
    [("plain", plain), ("throughput", throughput), ("traced", traced)];

/// The names of all phases.
pub(crate) fn names() -> [&'static str; ALL.len()] {
    ALL.map(|(name, _)| name)
}

/// Both sides, and the parameters of their comparison.
pub(crate) struct Sets {
    plan: Plan,
    bootstrap: Bootstrap,
    before: Side,
    after: Side,
    sink: Worker,
}

impl Sets {
    pub(crate) fn new(plan: Plan, seed: u64, before: Side, after: Side) -> Result<Self, Failure> {
        Ok(Self {
            plan,
            bootstrap: Bootstrap::new(seed, plan.resamples),
            before,
            after,
            sink: Worker::start(&["sink"], None)?,
        })
    }

    /// Starts a set of the later side and two of the earlier side, and visits them in turns, as often as planned.
    /// `visit` returns the samples of `N` quantities. Returns the samples of each quantity, by side and set.
    fn visit<const N: usize>(
        &self,
        client_of: ClientOf,
        collector: Option<&str>,
        mut visit: impl FnMut(&ProcessSet) -> Result<[Vec<f64>; N], Failure>,
    ) -> Result<[Sides; N], Failure> {
        let mut measured = [const { Sides::new() }; N];
        for set in 0..self.plan.sets {
            // The order of starting rotates, so that no side is always first.
            let mut order = [0, 1, 2];
            order.rotate_left(set % 3);
            let mut sets: [Option<ProcessSet>; 3] = [const { None }; 3];
            for side in order {
                let from = [&self.after, &self.before, &self.before][side];
                let started = from.start(client_of, collector)?;
                started.ask(&format!("sequential {} 1", self.plan.executions))?;
                sets[side] = Some(started);
            }
            let ask = |side: usize| {
                let visited = sets[side].as_ref().ok_or("a process set was not started")?;
                for (measure, samples) in measured.iter_mut().zip(visit(visited)?) {
                    measure.0[side].add(set, samples);
                }
                Ok(Vec::new())
            };
            interleave(order.len(), self.plan.rounds, ask, |_| Ok(()))?;
            for stopped in sets.into_iter().flatten() {
                stopped.stop()?;
            }
        }
        Ok(measured)
    }

    fn row(&self, id: &str, what: &str, sides: &Sides, statistic: Statistic) -> Row {
        let Sides([after, before, again]) = sides;
        let ratio = |over| self.bootstrap.ratio(over, before, statistic);
        Row::new(id, what, Unit::Times, ratio(after), after).noise(ratio(again))
    }

    fn absolute(&self, id: &str, what: &str, sides: &Sides, statistic: Statistic) -> [Row; 2] {
        let Sides([after, before, _]) = sides;
        // Samples of a rate are seconds per 10^6 bytes.
        let (unit, factor) = match statistic {
            Statistic::Rate => (Unit::MegabytesPerSecond, 1.0),
            _ => (Unit::Milliseconds, 1e3),
        };
        [("after", after), ("before", before)].map(|(side, of)| {
            let estimate = self.bootstrap.value(of, statistic).times(factor);
            Row::new(
                format!("{id}_{side}"),
                format!("{what}, {side}"),
                unit,
                estimate,
                of,
            )
        })
    }
}

/// Samples of the later side, the earlier side, and the earlier side again. Each set counts as a round.
struct Sides([Rounds; 3]);

impl Sides {
    const fn new() -> Self {
        Self([const { Rounds::new() }; 3])
    }
}

fn plain(sets: &Sets) -> Result<Vec<Row>, Failure> {
    let Plan {
        warm_up,
        executions,
        in_flight,
        width,
        cold,
        ..
    } = sets.plan;
    let [warm, crowd, new] = sets.visit(ClientOf::Exec, None, |set| {
        Ok([
            set.ask(&format!("sequential {warm_up} {executions}"))?,
            set.ask(&format!("in-flight {width} {in_flight} {width}"))?,
            (0..cold).map(|_| set.cold(None)).collect::<Result<_, _>>()?,
        ])
    })?;
    let mut rows = Vec::new();
    for (id, what, sides, statistic) in [
        ("warm", "warm `Run`, p50", &warm, Statistic::P50),
        (
            "in_flight",
            "32 in flight, time per execution",
            &crowd,
            Statistic::Mean,
        ),
        ("cold", "cold `baton exec`, p50", &new, Statistic::P50),
    ] {
        rows.push(
            sets.row(id, &format!("{what}, after over before"), sides, statistic)
                .bar(Some(BAR)),
        );
        rows.extend(sets.absolute(id, what, sides, statistic));
    }
    Ok(rows)
}

fn throughput(sets: &Sets) -> Result<Vec<Row>, Failure> {
    let bytes = sets.plan.stream_bytes;
    let [download, upload] = sets.visit(ClientOf::Data, None, |set| {
        let stream = |direction| -> Result<Vec<f64>, Failure> {
            let seconds = set.ask(&format!("{direction} {bytes}"))?;
            let megabytes = bytes as f64 / 1e6;
            Ok(seconds.into_iter().map(|seconds| seconds / megabytes).collect())
        };
        Ok([stream("download")?, stream("upload")?])
    })?;
    let mut rows = Vec::new();
    for (id, sides) in [("download", &download), ("upload", &upload)] {
        let what = format!("{id}, time per byte, after over before");
        rows.push(sets.row(id, &what, sides, Statistic::Mean).bar(Some(BAR)));
        rows.extend(sets.absolute(id, id, sides, Statistic::Rate));
    }
    Ok(rows)
}

fn traced(sets: &Sets) -> Result<Vec<Row>, Failure> {
    let Plan {
        warm_up,
        executions,
        cold,
        ..
    } = sets.plan;
    let collector = Some(sets.sink.ready());
    let [cpu, warm, new] = sets.visit(ClientOf::Exec, collector, |set| {
        let before = set.cpu_time()?;
        let took = set.ask(&format!("sequential {warm_up} {executions}"))?;
        let used: Duration = set.cpu_time()?.saturating_sub(before);
        let used = used.as_secs_f64() / (warm_up + executions) as f64;
        let cold = (0..cold).map(|_| set.cold(collector)).collect::<Result<_, _>>()?;
        Ok([vec![used], took, cold])
    })?;
    let mut rows = Vec::new();
    for (id, what, sides, statistic) in [
        (
            "traced_cpu",
            "tracing on, CPU per execution of the three parts",
            &cpu,
            Statistic::Mean,
        ),
        (
            "traced_warm",
            "tracing on, warm `Run`, p50",
            &warm,
            Statistic::P50,
        ),
        (
            "traced_cold",
            "cold `baton exec` with export, p50",
            &new,
            Statistic::P50,
        ),
    ] {
        rows.push(
            sets.row(id, &format!("{what}, after over before"), sides, statistic)
                .bar(Some(BAR)),
        );
        rows.extend(sets.absolute(id, what, sides, statistic));
    }
    Ok(rows)
}
