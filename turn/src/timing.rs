//! What was measured: of a stream, of a step, of a turn. All durations are exact; sums saturate.

use std::fmt;
use std::time::Duration;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The stream returned its end.
    Ended,
    /// An item was an error ([`Step::try_stream`](crate::Step::try_stream)). Later items are not measured.
    Failed,
    /// The stream was dropped before its end, or its step ended first.
    Dropped,
}

impl StreamEnd {
    /// Its name in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Times of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamTimings {
    /// From the start to the first content; to the end, if there was no content.
    pub ttft: Duration,
    /// From the first content to the end: exactly `total - ttft`. `None` if there was no content.
    pub decode: Option<Duration>,
    /// From the start to the end.
    pub total: Duration,
    /// From the start to the first item, content or not. `None` if there was no item.
    pub time_to_first_chunk: Option<Duration>,
    /// How it ended.
    pub end: StreamEnd,
}

impl StreamTimings {
    /// Whether the stream had content.
    pub fn had_content(&self) -> bool {
        self.decode.is_some()
    }
}

/// Times of the streams of one step that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepTimings {
    /// Streams that have ended.
    pub streams: u32,
    /// The sum of their times to first content. `None` if no stream has ended.
    pub ttft: Option<Duration>,
    /// The sum of their times of generation. `None` if none of them had content.
    pub decode: Option<Duration>,
    /// From the start of the first stream that had an item to that item, content or not.
    pub time_to_first_chunk: Option<Duration>,
}

/// Times of the streams of one turn that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnTimings {
    /// Steps that were begun.
    pub steps: u32,
    /// The sum of the streams' times to first content. `None` if no stream has ended.
    pub ttft: Option<Duration>,
    /// The sum of the streams' times of generation. `None` if no stream had content.
    pub decode: Option<Duration>,
    /// From the start of step 0's first stream to that step's first content; `None` before it. With one stream that is
    /// the step's time to first content. After a retry it includes the failed attempt and the pause after it.
    pub user_visible_latency: Option<Duration>,
}

/// Adds to a sum that does not exist before its first summand.
pub(crate) fn add(sum: &mut Option<Duration>, summand: Duration) {
    *sum = Some(sum.unwrap_or_default().saturating_add(summand));
}
