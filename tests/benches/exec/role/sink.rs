//! The sink as a worker.

use baton_tests::sink::Sink;

use super::{answer, not_mine};
use crate::Failure;
use crate::protocol::Task;

/// Serves; says its endpoint first.
pub(super) fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sink = Sink::bind()?;
        let (endpoint, handle) = (sink.endpoint()?, sink.handle());
        let counting = answer(&endpoint, async |request| match request.task {
            Task::Counts => {
                let counts = handle.counts();
                let counts = [
                    counts.batches,
                    counts.spans,
                    counts.client_spans,
                    counts.server_spans,
                ];
                Ok(counts.map(|count| count as f64).to_vec())
            }
            _ => Err(not_mine()),
        });
        tokio::select! {
            served = sink.serve() => Ok(served?),
            done = counting => done,
        }
    })
}
