//! The floor as a worker.

use std::time::Duration;

use baton_bench::floor::{Flavour, once};
use baton_support::load::{in_flight, sequential};

use super::{answer, wrong_role};
use crate::Failure;
use crate::protocol::{Request, Task};

/// Answers requests on the runtime that `flavour` names.
pub(super) fn main(flavour: &str) -> Result<(), Failure> {
    let flavour = Flavour::ALL.into_iter().find(|known| known.name() == flavour);
    let runtime = flavour.ok_or("no such flavour")?.runtime()?;
    runtime.block_on(answer("ready", handle))
}

async fn handle(request: Request) -> Result<Vec<f64>, Failure> {
    let Request {
        task,
        warm_up,
        executions,
    } = request;
    match task {
        Task::Sequential => {
            // In a task, so that the multi-thread runtime runs it on a worker thread, not on the thread of `block_on`.
            let took = tokio::spawn(async move {
                sequential(warm_up, once).await?;
                sequential(executions, once).await
            });
            Ok(took.await??.iter().map(|(took, ())| took.as_secs_f64()).collect())
        }
        Task::InFlight(width) => {
            in_flight(warm_up, width, once).await?;
            let took: Duration = in_flight(executions, width, once).await?;
            Ok(vec![took.as_secs_f64() / executions as f64])
        }
        _ => Err(wrong_role()),
    }
}
