//! The long, narrow link as a worker.

use std::net::SocketAddr;
use std::thread;

use baton_bench::link::Link;
use baton_bench::{Failure, worker};

use super::runtime;
use crate::limits::LINK;

/// Leads to `target`; says its address first, and is asked nothing.
pub(super) fn main(target: SocketAddr) -> Result<(), Failure> {
    let link = Link::bind(LINK)?;
    let address = link.address()?.to_string();
    thread::spawn(move || link.serve(target));
    runtime()?.block_on(worker::answer(&address, async |_| {
        Err("nothing is asked of a link".into())
    }))
}
