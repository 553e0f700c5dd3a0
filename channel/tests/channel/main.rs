//! The channel over real sockets: a tonic service, a relay and a client in one process.

mod backpressure;
mod dependencies;
mod example;
mod refusals;
mod support;
mod trust;
