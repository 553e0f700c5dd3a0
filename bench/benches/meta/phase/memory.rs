//! Resident memory of the queue at its bound, with a store that never returns.

use baton_bench::stats::Estimate;
use baton_bench::{Failure, Row, Unit, Worker};

use super::BenchContext;
use crate::bars;

pub(super) fn measure(_bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for shape in ["least", "usual", "largest"] {
        let worker = Worker::start(&["queue", shape], None)?;
        let [resident, counted, _patches] = worker.ask("fill")?[..] else {
            return Err("not three numbers".into());
        };
        let row = |id: &str, what: &str, unit, value| {
            let (id, what) = (
                format!("queue_{shape}_{id}"),
                format!("queue at its bound, {shape} records: {what}"),
            );
            Row::once(id, what, unit, Estimate::exact(value))
        };
        rows.push(row("resident", "resident", Unit::Megabytes, resident / 1e6).bar(Some(bars::QUEUE_MEMORY)));
        rows.push(row("counted", "by its own count", Unit::Megabytes, counted / 1e6));
    }
    Ok(rows)
}
