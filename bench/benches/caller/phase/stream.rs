//! `Step::stream` over the bare stream: the time that it adds to each item.
//!
//! The stream is always ready and its items are numbers, so that nothing but the wrapper differs. One participant has
//! content from its first item on, as a process's output has. Another never has content, so that the caller's function
//! is asked for each item, as for a model that sends empty chunks.

use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use baton_bench::stats::{Rounds, Statistic, schedule};
use baton_bench::{Failure, Row, Unit};
use baton_turn::{Step, Thread};
use futures_core::Stream;

use super::BenchContext;
use crate::bars;

/// The numbers below the second, from the first.
struct Numbers(u64, u64);

impl Stream for Numbers {
    type Item = u64;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<u64>> {
        let Self(next, end) = &mut *self;
        if next == end {
            return Poll::Ready(None);
        }
        *next += 1;
        Poll::Ready(Some(*next))
    }
}

/// Nanoseconds for each item.
fn drain(stream: impl Stream<Item = u64>, items: u64) -> f64 {
    let mut stream = pin!(stream);
    let mut context = Context::from_waker(Waker::noop());
    let began = Instant::now();
    while let Poll::Ready(Some(item)) = stream.as_mut().poll_next(&mut context) {
        black_box(item);
    }
    began.elapsed().as_secs_f64() * 1e9 / items as f64
}

const BARE: usize = 0;
const BARE_AGAIN: usize = 1;
const CONTENT: usize = 2;
const NO_CONTENT: usize = 3;

fn visit(participant: usize, items: u64, step: &Step) -> f64 {
    let numbers = black_box(Numbers(0, items));
    match participant {
        CONTENT => drain(step.stream(numbers, |_| true), items),
        NO_CONTENT => drain(step.stream(numbers, |item| *item == u64::MAX), items),
        _ => drain(numbers, items),
    }
}

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let items = bench.plan.stream_items;
    let turn = Thread::new("bench")?.turn()?;
    let mut visits = vec![Rounds::new(); 4];
    // What a participant adds to the bare stream of the same round.
    let mut added = vec![Rounds::new(); 4];
    for round in 0..bench.plan.stream_rounds {
        // A step has a bounded number of streams.
        let step = turn.step()?;
        let mut sums = [0.0; 4];
        for participant in schedule(4, round) {
            let nanoseconds = visit(participant, items, &step);
            visits[participant].add(round, [nanoseconds]);
            sums[participant] += nanoseconds;
        }
        for (rounds, sum) in added.iter_mut().zip(sums) {
            rounds.add(round, [(sum - sums[BARE]) / 2.0]);
        }
        step.end();
    }
    turn.end();

    let noise = bench.bootstrap.value(&added[BARE_AGAIN], Statistic::Mean);
    let row = |id: &str, what: &str, of: &Rounds| {
        let mean = bench.bootstrap.value(of, Statistic::Mean);
        Row::new(id, what, Unit::Nanoseconds, mean, of)
    };
    let judged =
        |id: &str, what: &str, of: &Rounds| row(id, what, of).noise(noise).bar(Some(bars::STREAM_ITEM));
    Ok(vec![
        judged(
            "stream_item",
            "wrapping a stream, added per item, content from the first item on",
            &added[CONTENT],
        ),
        judged(
            "stream_item_no_content",
            "the same, without content",
            &added[NO_CONTENT],
        ),
        row("stream_item_bare", "the bare stream, per item", &visits[BARE]),
    ])
}
