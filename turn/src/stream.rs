//! Streams that measure themselves: items pass through, and the first chunk, the first content and the end are
//! recorded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use opentelemetry::KeyValue;
use pin_project_lite::pin_project;

use crate::clock;
use crate::state::SharedTurn;
use crate::timing::{StreamEnd, StreamTimings};

/// The measurement of one stream. Dropping it ends the measurement.
#[derive(Debug)]
pub(crate) struct Measure {
    turn: Arc<SharedTurn>,
    step: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    BeforeChunk {
        stream: u32,
    },
    BeforeContent {
        stream: u32,
    },
    Content {
        stream: u32,
    },
    /// Ended, or never measured.
    Done(Option<StreamTimings>),
}

impl Measure {
    pub(crate) fn begin(turn: &Arc<SharedTurn>, step: u32, common: Vec<KeyValue>) -> Self {
        let now = clock::now();
        let stream = turn
            .with_step(step, |open| open.begin_stream(now, common))
            .flatten();
        Self {
            turn: turn.clone(),
            step,
            phase: match stream {
                Some(stream) => Phase::BeforeChunk { stream },
                None => Phase::Done(None),
            },
        }
    }

    /// Whether the next item decides something.
    #[inline]
    fn is_waiting_for_content(&self) -> bool {
        matches!(
            self.phase,
            Phase::BeforeChunk { .. } | Phase::BeforeContent { .. }
        )
    }

    /// An item before the first content.
    #[cold]
    fn item(&mut self, is_content: bool) {
        let (stream, is_first) = match self.phase {
            Phase::BeforeChunk { stream } => (stream, true),
            Phase::BeforeContent { stream } => (stream, false),
            Phase::Content { .. } | Phase::Done(_) => return,
        };
        if !is_first && !is_content {
            return;
        }
        let now = clock::now();
        self.turn.with_step(self.step, |open| {
            if is_first {
                open.first_chunk(stream, now);
            }
            if is_content {
                open.first_content(&self.turn, stream, now);
            }
        });
        self.phase = match is_content {
            true => Phase::Content { stream },
            false => Phase::BeforeContent { stream },
        };
    }

    #[cold]
    fn end(&mut self, end: StreamEnd) {
        let stream = match self.phase {
            Phase::BeforeChunk { stream } | Phase::BeforeContent { stream } | Phase::Content { stream } => {
                stream
            }
            Phase::Done(_) => return,
        };
        let now = clock::now();
        let timings = self
            .turn
            .with_step(self.step, |open| open.end_stream(&self.turn, stream, now, end));
        self.phase = Phase::Done(timings.flatten());
    }

    fn timings(&self) -> Option<StreamTimings> {
        match self.phase {
            Phase::Done(timings) => timings,
            _ => None,
        }
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.end(StreamEnd::Dropped);
    }
}

pin_project! {
    /// A stream that is measured: see [`Step::stream`](crate::Step::stream).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct TimedStream<S, F> {
        #[pin]
        stream: S,
        is_content: F,
        measure: Measure,
    }
}

impl<S, F> TimedStream<S, F> {
    pub(crate) fn new(stream: S, is_content: F, measure: Measure) -> Self {
        Self {
            stream,
            is_content,
            measure,
        }
    }

    /// What was measured. `None` before the stream's end, and for a stream whose step ended first.
    pub fn timings(&self) -> Option<StreamTimings> {
        self.measure.timings()
    }
}

impl<S, F> Stream for TimedStream<S, F>
where
    S: Stream,
    F: FnMut(&S::Item) -> bool,
{
    type Item = S::Item;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let item = ready!(this.stream.poll_next(cx));
        match &item {
            Some(item) => {
                if this.measure.is_waiting_for_content() {
                    let is_content = (this.is_content)(item);
                    this.measure.item(is_content);
                }
            }
            None => this.measure.end(StreamEnd::Ended),
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

pin_project! {
    /// A stream of results that is measured: see [`Step::try_stream`](crate::Step::try_stream).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct TimedTryStream<S, F> {
        #[pin]
        stream: S,
        is_content: F,
        measure: Measure,
    }
}

impl<S, F> TimedTryStream<S, F> {
    pub(crate) fn new(stream: S, is_content: F, measure: Measure) -> Self {
        Self {
            stream,
            is_content,
            measure,
        }
    }

    /// What was measured. `None` before the stream's end, and for a stream whose step ended first.
    pub fn timings(&self) -> Option<StreamTimings> {
        self.measure.timings()
    }
}

impl<S, T, E, F> Stream for TimedTryStream<S, F>
where
    S: Stream<Item = Result<T, E>>,
    F: FnMut(&T) -> bool,
{
    type Item = Result<T, E>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let item = ready!(this.stream.poll_next(cx));
        match &item {
            Some(Ok(item)) => {
                if this.measure.is_waiting_for_content() {
                    let is_content = (this.is_content)(item);
                    this.measure.item(is_content);
                }
            }
            Some(Err(_)) => this.measure.end(StreamEnd::Failed),
            None => this.measure.end(StreamEnd::Ended),
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}
