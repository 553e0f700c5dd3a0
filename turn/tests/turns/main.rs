//! Turns, steps, tool calls and streams as spans, on a paused clock and with OpenTelemetry's SDK.

mod limits;
mod spans;
mod streams;
mod support;
mod tracing;
