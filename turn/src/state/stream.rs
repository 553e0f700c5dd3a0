//! An open stream of a step, and its two spans.
//!
//! `ttft` is exported at the first content or at the end, `decode` at the end. Their times follow from the start of the
//! stream, so they are exact: `decode` is the total less `ttft`.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanBuilder;
use tokio::time::Instant;

use super::step::OpenStep;
use super::{SharedTurn, int};
use crate::attribute;
use crate::clock;
use crate::limits::{SPAN_GAP_NS, STREAMS_MAX};
use crate::timing::{StreamEnd, StreamTimings};

#[derive(Debug)]
pub(crate) struct OpenStream {
    started: Instant,
    /// Start of `ttft`, in nanoseconds since the Unix epoch.
    start: u64,
    /// On both spans: turn, step, and the stream's index unless it is the first.
    common: Vec<KeyValue>,
    first_chunk: Option<Duration>,
    /// Time to the first content, and the end of the span `ttft`.
    ttft: Option<(Duration, u64)>,
}

fn stage(name: &'static str, common: &[KeyValue]) -> SpanBuilder {
    let mut attributes = Vec::with_capacity(common.len() + 3);
    attributes.push(KeyValue::new(attribute::STAGE, name));
    attributes.extend_from_slice(common);
    SpanBuilder::from_name(name).with_attributes(attributes)
}

fn with(mut builder: SpanBuilder, attribute: KeyValue) -> SpanBuilder {
    builder.attributes.get_or_insert_default().push(attribute);
    builder
}

impl OpenStep {
    /// Begins a stream and returns its index; `None` above [`STREAMS_MAX`].
    pub(crate) fn begin_stream(&mut self, now: Instant, mut common: Vec<KeyValue>) -> Option<u32> {
        let index = self.streams_begun;
        if index >= STREAMS_MAX {
            self.streams_unmeasured = self.streams_unmeasured.saturating_add(1);
            return None;
        }
        if index > 0 {
            common.push(int(attribute::STREAM_INDEX, index.into()));
        }
        self.streams_begun += 1;
        self.first_stream.get_or_insert(now);
        let stream = OpenStream {
            started: now,
            start: self.span.child_start(clock::unix_ns(&self.anchor, now)),
            common,
            first_chunk: None,
            ttft: None,
        };
        self.streams.insert(index, stream);
        Some(index)
    }

    /// The stream's first item.
    pub(crate) fn first_chunk(&mut self, index: u32, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&index) {
            let after = now.saturating_duration_since(stream.started);
            stream.first_chunk.get_or_insert(after);
            self.time_to_first_chunk.get_or_insert(after);
        }
    }

    /// The stream's first content: ends its `ttft`.
    pub(crate) fn first_content(&mut self, turn: &SharedTurn, index: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(&index) else {
            return;
        };
        if stream.ttft.is_some() {
            return;
        }
        self.first_content.get_or_insert(now);
        let ttft = now.saturating_duration_since(stream.started);
        let span = with(
            stage(attribute::TTFT, &stream.common),
            KeyValue::new(attribute::FIRST_CONTENT, true),
        );
        let length = clock::duration_ns(ttft);
        let end = self.span.closed_child(&turn.tracer, span, stream.start, length);
        stream.ttft = Some((ttft, end));
    }

    /// Ends a stream. `None` if it has ended.
    pub(crate) fn end_stream(
        &mut self,
        turn: &SharedTurn,
        index: u32,
        now: Instant,
        end: StreamEnd,
    ) -> Option<StreamTimings> {
        let stream = self.streams.remove(&index)?;
        let total = now.saturating_duration_since(stream.started);
        let (ttft, decode) = match stream.ttft {
            Some((ttft, _)) => (ttft, Some(total.saturating_sub(ttft))),
            None => (total, None),
        };
        let timings = StreamTimings {
            ttft,
            decode,
            total,
            time_to_first_chunk: stream.first_chunk,
            end,
        };
        let (span, start) = match stream.ttft {
            Some((_, ttft_end)) => (
                stage(attribute::DECODE, &stream.common),
                ttft_end.saturating_add(SPAN_GAP_NS),
            ),
            None => (
                with(
                    stage(attribute::TTFT, &stream.common),
                    KeyValue::new(attribute::FIRST_CONTENT, false),
                ),
                stream.start,
            ),
        };
        let span = with(span, KeyValue::new(attribute::STREAM_END, end.as_str()));
        let length = clock::duration_ns(decode.unwrap_or(ttft));
        self.span.closed_child(&turn.tracer, span, start, length);
        self.add(&timings);
        Some(timings)
    }
}
