//! The channel over real sockets: a tonic service, a relay and a client in one process.

mod backpressure;
mod call_end;
mod calls;
mod crowds;
mod details;
mod ends;
mod example;
mod fleet;
mod hostile;
mod reconnect;
mod records;
mod refusals;
mod registration;
mod rekey;
mod revocation;
mod sessions;
mod silence;
mod support;
mod tls;
mod trust;
mod versions;
