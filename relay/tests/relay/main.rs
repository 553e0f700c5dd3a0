//! The relay over real sockets: a test plays client and exec-server with raw frames, no Noise.

mod backpressure;
mod disconnects;
mod health;
mod pairing;
mod refusals;
mod registration;
mod support;
mod tls;
