//! Download and upload beside a blind TCP relay, under a given congestion control.

use std::cell::RefCell;

use baton_bench::network;
use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker, start_in_turns};

use super::{BenchContext, Compared, one, per_megabyte};
use crate::bars;
use crate::peers::{Baton, FarEndStdio, download_tcp, upload_tcp};

pub(super) fn measure(bench: &BenchContext, control: &str) -> Result<Vec<Row>, Failure> {
    match network::under(control, || under(bench, control)) {
        Ok(measured) => measured,
        Err(why) => Ok(["download", "upload"]
            .map(|direction| {
                let (id, what) = names(direction, control);
                Row::absent(id, what, Unit::Times, why.to_string())
                    .bar(bars::over_blind(control).map(|[bar, _]| bar))
            })
            .into()),
    }
}

fn names(direction: &str, control: &str) -> (String, String) {
    (
        format!("{direction}_over_blind_{control}"),
        format!("{direction} over a blind TCP relay, {control}"),
    )
}

/// A process set.
struct Processes {
    number: usize,
    baton: Baton,
    _far_end: Worker,
    /// The second relay is for A against A.
    blind: Vec<Worker>,
}

impl Processes {
    fn start(number: usize) -> Result<Self, Failure> {
        let baton = Baton::start()?;
        let far_end = Worker::start(&["far-end"], None)?;
        let blind = start_in_turns(number, 2, |_| Worker::start(&["blind", far_end.ready()], None))?;
        Ok(Self {
            number,
            baton,
            _far_end: far_end,
            blind,
        })
    }
}

/// Times a stream of this many bytes through the relay at this address, in seconds.
type OverTcp = fn(&str, FarEndStdio, u64) -> Result<f64, Failure>;

fn under(bench: &BenchContext, control: &str) -> Result<Vec<Row>, Failure> {
    let bytes = bench.plan.bulk_bytes;
    let mut rows = Vec::new();
    let directions: [(&str, OverTcp); 2] = [("download", download_tcp), ("upload", upload_tcp)];
    for (index, (direction, over_tcp)) in directions.into_iter().enumerate() {
        let cost = RefCell::new([const { Rounds::new() }; 3]);
        let own = |processes: &Processes| {
            let baton = &processes.baton;
            let before = baton.cpu_times()?;
            let seconds = one(baton.client.ask(format!("{direction} {bytes}"))?)?;
            for ((cost, before), after) in cost.borrow_mut().iter_mut().zip(before).zip(baton.cpu_times()?) {
                let used = after.saturating_sub(before).as_secs_f64();
                cost.add(processes.number, [used / (bytes as f64 / 1e9)]);
            }
            Ok::<_, Failure>(seconds)
        };
        let visit = |processes: &Processes, visited: usize| {
            let [first, second] = [0, 1].map(|relay: usize| processes.blind[relay].ready());
            let seconds = match visited {
                0 => own(processes)?,
                1 => over_tcp(first, FarEndStdio::Direct, bytes)?,
                2 => over_tcp(second, FarEndStdio::Direct, bytes)?,
                _ => over_tcp(first, FarEndStdio::Piped, bytes)?,
            };
            Ok(per_megabyte(seconds, bytes))
        };
        let measured = bench.in_sets(bench.plan.bulk, 4, Processes::start, visit)?;
        let [own, peer, peer_again, piped] = &measured[..] else {
            return Err("not four participants".into());
        };
        let (id, what) = names(direction, control);
        let compared = Compared {
            own,
            peer,
            peer_again: Some(peer_again),
            bar: bars::over_blind(control).map(|bars| bars[index]),
        };
        rows.push(bench.ratio(id, what, compared, Statistic::Rate));
        let compared = Compared {
            peer: piped,
            peer_again: None,
            bar: None,
            ..compared
        };
        let id = format!("{direction}_over_piped_{control}");
        let what = format!("{direction} over it with a pipe at the far end, {control}");
        rows.push(bench.ratio(id, what, compared, Statistic::Rate));
        for (id, what, of) in [
            ("baton", "Baton", own),
            ("blind", "blind TCP relay", peer),
            ("piped", "blind TCP relay, a pipe at the far end", piped),
        ] {
            let id = format!("{direction}_{id}_{control}");
            rows.push(bench.throughput(id, format!("{direction}, {what}, {control}"), of));
        }
        for (part, cost) in ["client", "relay", "exec-server"]
            .into_iter()
            .zip(cost.into_inner())
        {
            let id = format!("{direction}_cpu_{}_{control}", part.replace('-', "_"));
            let what = format!("{direction}, CPU time of the {part} for 10^9 bytes, {control}");
            rows.push(bench.milliseconds(id, what, &cost, Statistic::Mean));
        }
    }
    Ok(rows)
}
