//! `Step::stream` over the bare stream: the time that it adds to each item.

use baton_bench::stats::{Rounds, Statistic};
use baton_bench::{Failure, Row, Unit, Worker};

use super::BenchContext;
use crate::bars;
use crate::role::stream::{BARE, CONTENT, NO_CONTENT};

/// The second is for A against A.
const STREAMS: [&str; 4] = [BARE, BARE, CONTENT, NO_CONTENT];

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let items = bench.plan.stream_items;
    let start = |_| Worker::start(&["stream"], None);
    let visit = |worker: &Worker, visited: usize| Ok([worker.ask(format!("{} {items}", STREAMS[visited]))?]);
    let [measured] = bench.plan.stream.measure_warm(STREAMS.len(), start, visit)?;
    let [bare, bare_again, content, no_content] = &measured[..] else {
        return Err("not four participants".into());
    };
    let added = |of: &Rounds| bench.bootstrap.difference(of, bare, Statistic::Mean);
    let judged = |id: &str, what: &str, of: &Rounds| {
        Row::new(id, what, Unit::Nanoseconds, added(of), of)
            .noise(added(bare_again))
            .bar(Some(bars::STREAM_ITEM))
    };
    let mean = bench.bootstrap.value(bare, Statistic::Mean);
    Ok(vec![
        judged(
            "stream_item",
            "wrapping a stream, added per item, content from the first item on",
            content,
        ),
        judged("stream_item_no_content", "the same, without content", no_content),
        Row::new(
            "stream_item_bare",
            "the bare stream, per item",
            Unit::Nanoseconds,
            mean,
            bare,
        ),
    ])
}
