//! The floor as a worker.

use std::time::{Duration, Instant};

use baton_bench::floor::{Cat, Flavour, Floor, Input, PROGRAM, StartMethod};
use baton_support::load::{in_flight, sequential};

use super::{answer, wrong_role};
use crate::Failure;
use crate::protocol::{Request, SLEEP, Task};

/// Answers requests on the runtime that `flavour` names. Starts commands by the method of this name.
pub(super) fn main(method: &str, flavour: &str) -> Result<(), Failure> {
    let method = StartMethod::ALL.into_iter().find(|known| known.name() == method);
    let method = method.ok_or("no such method")?;
    let flavour = Flavour::ALL.into_iter().find(|known| known.name() == flavour);
    let runtime = flavour.ok_or("no such flavour")?.runtime()?;
    runtime.block_on(async {
        let floor = Floor::new(method)?;
        answer("ready", async |request| handle(&floor, request).await).await
    })
}

async fn handle(floor: &Floor, request: Request) -> Result<Vec<f64>, Failure> {
    let Request {
        task,
        warm_up,
        executions,
    } = request;
    let floor = floor.clone();
    let (argv, input): (&'static [&'static str], Input) = match task {
        Task::Sequential => (&[PROGRAM], Input::Null),
        Task::Piped => (&[PROGRAM], Input::Pipe),
        Task::Sleep => (&SLEEP, Input::Null),
        Task::InFlight(width) => {
            let once = move || {
                let floor = floor.clone();
                async move { floor.run(&[PROGRAM], Input::Null).await }
            };
            in_flight(warm_up, width, once.clone()).await?;
            let took: Duration = in_flight(executions, width, once).await?;
            return Ok(vec![took.as_secs_f64() / executions as f64]);
        }
        Task::Cat => return round_trips(warm_up, executions).await,
        _ => return Err(wrong_role()),
    };
    // In a task, so that the multi-thread runtime runs it on a worker thread, not on the thread of `block_on`.
    let took = tokio::spawn(async move {
        sequential(warm_up, || floor.run(argv, input)).await?;
        sequential(executions, || floor.run(argv, input)).await
    });
    Ok(took.await??.iter().map(|(took, ())| took.as_secs_f64()).collect())
}

/// Seconds of each round trip of a byte through one `cat`.
async fn round_trips(warm_up: usize, counted: usize) -> Result<Vec<f64>, Failure> {
    let mut cat = Cat::start()?;
    let mut took = Vec::new();
    for _ in 0..warm_up + counted {
        let began = Instant::now();
        cat.round_trip().await?;
        took.push(began.elapsed().as_secs_f64());
    }
    Ok(took.split_off(warm_up))
}
