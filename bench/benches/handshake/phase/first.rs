//! The first handshake of both ends in a new process.
//!
//! `baton exec` is a new process for each command, so it does every part of a handshake for the first time: it pays for
//! page faults, and for whatever a library sets up at its first use. The static keys exist before, as a process reads
//! its key file before it dials.

use baton_bench::{Failure, Row};
use baton_noise::SUITE;

use super::{BenchContext, Compared};
use crate::{bars, classical};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let roles = [["first", "own"], ["first", "classical"], ["first", "classical"]];
    let measured = bench.in_new_processes(&roles)?;
    let [own, floor, floor_again] = &measured[..] else {
        return Err("not three participants".into());
    };
    let compared = Compared {
        own,
        floor,
        floor_again,
    };
    let floor_suite = classical::SUITE;
    Ok(vec![
        bench.added(
            "first_added",
            format!("first handshake of a new process, both ends, Baton's {SUITE} less {floor_suite}, p50"),
            compared,
            Some(bars::FIRST_ADDED),
        ),
        bench.milliseconds("first_own", format!("first handshake, Baton's {SUITE}, p50"), own),
        bench.milliseconds(
            "first_classical",
            format!("first handshake, {floor_suite}, p50"),
            floor,
        ),
    ])
}
