//! Turns, steps, tool calls and streams as spans, on a paused clock and with OpenTelemetry's SDK.

mod critical_path;
mod limits;
mod property;
mod results;
mod spans;
mod streams;
mod support;
mod tracing;
