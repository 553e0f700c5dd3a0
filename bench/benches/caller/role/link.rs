//! The link as a worker.

use std::net::SocketAddr;
use std::thread;

use baton_bench::link::Link;
use baton_bench::{Failure, worker};

use super::runtime;
use crate::limits::LINK;

/// Forwards to `target`. Its first line is its address. It answers no requests.
pub(super) fn main(target: SocketAddr) -> Result<(), Failure> {
    let link = Link::bind(LINK)?;
    let address = link.address()?.to_string();
    thread::spawn(move || link.serve(target));
    runtime()?.block_on(worker::answer(&address, async |_| {
        Err("the link answers no requests".into())
    }))
}
