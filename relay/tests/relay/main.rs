//! The relay over real sockets: a test acts as client and exec-server, with raw frames and without Noise.

mod backpressure;
mod balancer;
mod disconnects;
mod drain;
mod health;
mod here;
mod pairing;
mod refusals;
mod registration;
mod support;
mod tls;
