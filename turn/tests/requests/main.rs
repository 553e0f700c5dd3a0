//! Timing reports and requests: against a naive model, over a real WebSocket, and on a trace.

mod clock;
mod intervals;
mod model;
mod property;
mod spans;
mod websocket;
