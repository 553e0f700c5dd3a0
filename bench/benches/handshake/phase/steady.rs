//! Handshakes of both ends in a process that has done many.

use std::time::Instant;

use baton_bench::{Failure, Row, interleave};
use baton_noise::SUITE;

use super::{BenchContext, Compared};
use crate::classical::{self, Classical};
use crate::own::Own;

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let (own, classical) = (Own::generate()?, Classical::generate()?);
    let visit = |participant| -> Result<Vec<f64>, Failure> {
        let handshake = || match participant {
            0 => own.handshake(),
            // The third is for A against A.
            _ => classical.handshake(),
        };
        (0..bench.plan.steady_handshakes)
            .map(|_| {
                let began = Instant::now();
                handshake()?;
                Ok(began.elapsed().as_secs_f64())
            })
            .collect()
    };
    visit(0)?;
    visit(1)?;
    let measured = interleave(3, bench.plan.steady_rounds, visit, |_| Ok(()))?;
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
        bench.ratio(
            "steady_ratio",
            format!("handshake of both ends, Baton's {SUITE} over {floor_suite}, p50"),
            compared,
        ),
        bench.milliseconds("steady_own", format!("handshake, Baton's {SUITE}, p50"), own),
        bench.milliseconds(
            "steady_classical",
            format!("handshake, {floor_suite}, p50"),
            floor,
        ),
    ])
}
