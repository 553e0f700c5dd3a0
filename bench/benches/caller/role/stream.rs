//! Bare and wrapped streams as a worker.
//!
//! A stream is always ready and its items are numbers, so that nothing but the wrapper differs. One participant has
//! content from its first item on, as a process's output has. Another never has content, so that the caller's function
//! is asked for each item, as for a model that sends empty chunks.

use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use baton_bench::{Failure, worker};
use baton_turn::{Step, Thread};
use futures_core::Stream;

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

/// The streams.
pub(crate) const BARE: &str = "bare";
pub(crate) const CONTENT: &str = "content";
pub(crate) const NO_CONTENT: &str = "no-content";

/// Answers `STREAM ITEMS` with the nanoseconds for each item.
pub(super) fn main() -> Result<(), Failure> {
    let turn = Thread::new("bench")?.turn()?;
    worker::answer_blocking("ready", |request| {
        let (stream, items) = request.split_once(' ').ok_or("not two words")?;
        // A step has a bounded number of streams.
        let step = turn.step()?;
        let nanoseconds = visit(stream, items.parse()?, &step)?;
        step.end();
        Ok(vec![nanoseconds])
    })
}

fn visit(stream: &str, items: u64, step: &Step) -> Result<f64, Failure> {
    let numbers = black_box(Numbers(0, items));
    match stream {
        BARE => Ok(drain(numbers, items)),
        CONTENT => Ok(drain(step.stream(numbers, |_| true), items)),
        NO_CONTENT => Ok(drain(step.stream(numbers, |item| *item == u64::MAX), items)),
        _ => Err(format!("no such stream: {stream}").into()),
    }
}
