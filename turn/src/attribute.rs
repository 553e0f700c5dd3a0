//! The names of Baton's own attributes of turns. `docs/STAGES.md` describes them; those of the GenAI conventions are in
//! [`semconv`](crate::semconv).

/// On every span of this crate: the turn's number in its thread, from 1. Int.
pub const TURN: &str = "baton.turn";
/// On every span below a turn: the step's id. String.
pub const STEP: &str = "baton.step";
/// On `ttft`, `decode` and `tool.dispatch`: the span's own name. String.
pub const STAGE: &str = baton_trace::attribute::STAGE;

/// On a turn: the sum of its `ttft` spans, in nanoseconds. Int.
pub const TURN_TTFT_NS: &str = "baton.turn.ttft_ns";
/// On a turn: the sum of its `decode` spans, in nanoseconds. Int.
pub const TURN_DECODE_NS: &str = "baton.turn.decode_ns";
/// On a turn whose step 0 had content: nanoseconds from the start of that step's first stream to its first content.
/// With one stream that is the step's `ttft`. Int.
pub const TURN_USER_VISIBLE_LATENCY_NS: &str = "baton.turn.user_visible_latency_ns";
/// On `ttft`: whether the stream had content. Bool.
pub const FIRST_CONTENT: &str = "first_content";
/// On the last span of a stream (`decode`, or a `ttft` without content): how the stream ended, by the names of
/// [`StreamEnd`](crate::StreamEnd). String.
pub const STREAM_END: &str = "baton.stream.end";
/// On the spans of a step's further streams: 1 for the second. Absent on the first. Int.
pub const STREAM_INDEX: &str = "baton.stream.index";
/// On a step with more streams than are measured: how many were not. Int.
pub const STREAMS_UNMEASURED: &str = "baton.stream.unmeasured";
/// On a tool call: its place in the order in which its step dispatched tool calls, from 0. Int.
pub const TOOL_INDEX: &str = "baton.tool.index";
/// On a span that its owner did not end: `drop`, or `parent` if the parent's end ended it. String.
pub const ENDED_BY: &str = "baton.ended_by";

/// Name of the span from a stream's start to its first content.
pub const TTFT: &str = "ttft";
/// Name of the span from a stream's first content to its end.
pub const DECODE: &str = "decode";
/// Name of the span from the decision to call a tool to the first remote call made inside.
pub const TOOL_DISPATCH: &str = "tool.dispatch";
