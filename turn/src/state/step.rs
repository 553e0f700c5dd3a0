//! An open step.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::KeyValue;
use tokio::time::Instant;

use baton_trace::record::Anchor;

use super::stream::OpenStream;
use super::tool_call::OpenToolCall;
use super::{SharedTurn, int};
use crate::clock;
use crate::prefix::PrefixCheck;
use crate::requests::Counters;
use crate::span::{EndCause, OpenSpan};
use crate::timing::{StepTimings, StreamEnd, StreamTimings, add};
use crate::usage::Usage;
use crate::{attribute, semconv};

#[derive(Debug)]
pub(crate) struct OpenStep {
    pub(super) anchor: Anchor,
    pub(super) span: OpenSpan,
    pub(super) tool_calls_begun: u32,
    pub(super) tool_calls: BTreeMap<u32, OpenToolCall>,
    pub(super) streams_begun: u32,
    pub(super) streams: BTreeMap<u32, OpenStream>,
    pub(super) streams_unmeasured: u64,
    /// When the first stream began.
    pub(super) first_stream: Option<Instant>,
    /// The earliest content of any stream.
    pub(super) first_content: Option<Instant>,
    /// Of the first stream that had an item.
    pub(super) time_to_first_chunk: Option<Duration>,
    ended_streams: u32,
    ttft: Option<Duration>,
    decode: Option<Duration>,
    pub(crate) usage: Usage,
    pub(crate) request_counters: Option<Counters>,
    pub(crate) prefix: Option<PrefixCheck>,
}

impl OpenStep {
    pub(super) fn new(anchor: Anchor, span: OpenSpan) -> Self {
        Self {
            anchor,
            span,
            tool_calls_begun: 0,
            tool_calls: BTreeMap::new(),
            streams_begun: 0,
            streams: BTreeMap::new(),
            streams_unmeasured: 0,
            first_stream: None,
            first_content: None,
            time_to_first_chunk: None,
            ended_streams: 0,
            ttft: None,
            decode: None,
            usage: Usage::default(),
            request_counters: None,
            prefix: None,
        }
    }

    /// The start of the span as exported, in nanoseconds since the Unix epoch.
    pub(crate) fn start_ns(&self) -> u64 {
        self.span.start()
    }

    pub(crate) fn timings(&self) -> StepTimings {
        StepTimings {
            streams: self.ended_streams,
            ttft: self.ttft,
            decode: self.decode,
            time_to_first_chunk: self.time_to_first_chunk,
        }
    }

    /// From the start of the first stream to the first content.
    pub(super) fn first_content_after(&self) -> Option<Duration> {
        Some(self.first_content?.saturating_duration_since(self.first_stream?))
    }

    pub(super) fn add(&mut self, stream: &StreamTimings) {
        self.ended_streams = self.ended_streams.saturating_add(1);
        add(&mut self.ttft, stream.ttft);
        if let Some(decode) = stream.decode {
            add(&mut self.decode, decode);
        }
    }

    pub(super) fn end_children(&mut self, turn: &SharedTurn, now: Instant) {
        for index in self.streams.keys().copied().collect::<Vec<_>>() {
            self.end_stream(turn, index, now, StreamEnd::Dropped);
        }
        for index in self.tool_calls.keys().copied().collect::<Vec<_>>() {
            self.end_tool_call(index, now, EndCause::ParentEnded);
        }
    }

    /// Ends the span, and returns its end.
    pub(super) fn end(self, now: Instant, cause: EndCause) -> u64 {
        if let Some(after) = self.time_to_first_chunk {
            let name = semconv::RESPONSE_TIME_TO_FIRST_CHUNK;
            self.span.set([KeyValue::new(name, after.as_secs_f64())]);
        }
        if self.streams_unmeasured > 0 {
            self.span
                .set([int(attribute::STREAMS_UNMEASURED, self.streams_unmeasured)]);
        }
        self.span.set(self.usage.attributes());
        self.span
            .set(self.request_counters.iter().flat_map(Counters::attributes));
        self.span
            .set(self.prefix.iter().flat_map(PrefixCheck::attributes));
        self.span.end(clock::unix_ns(&self.anchor, now), cause)
    }
}
