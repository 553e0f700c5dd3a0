//! Sequential and concurrent executions. The same loops drive the floor and Baton, on the runtime of the caller.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// Runs `once` `executions` times in sequence. Returns the duration and the value of each execution.
///
/// # Errors
/// The first error of `once`; later executions do not run.
pub async fn sequential<F, Fut, T, E>(executions: usize, once: F) -> Result<Vec<(Duration, T)>, E>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut took = Vec::with_capacity(executions);
    for _ in 0..executions {
        let started = Instant::now();
        let value = once().await?;
        took.push((started.elapsed(), value));
    }
    Ok(took)
}

/// Runs `once` `executions` times in `width` concurrent lanes. A lane starts its next execution when its last one ends.
/// Returns the time from the first start to the last end. The lanes are tasks, so a multi-thread runtime distributes
/// them.
///
/// # Errors
/// An error of `once`, or a panic in it as [`tokio::task::JoinError`]; the other lanes are aborted.
pub async fn in_flight<F, Fut, T, E>(executions: usize, width: usize, once: F) -> Result<Duration, E>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send,
    E: From<tokio::task::JoinError> + Send + 'static,
{
    let started = Instant::now();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..width {
        let (taken, once) = (Arc::clone(&taken), once.clone());
        lanes.spawn(async move {
            while taken.fetch_add(1, Ordering::Relaxed) < executions {
                once().await?;
            }
            Ok::<_, E>(())
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[tokio::test]
    async fn sequential_runs_each_execution_alone() {
        let running = &AtomicUsize::new(0);
        let once = || async move {
            assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, io::Error>(())
        };
        assert_eq!(sequential(7, once).await.unwrap().len(), 7);
    }

    #[tokio::test]
    async fn in_flight_runs_the_requested_number_at_the_requested_width() {
        let runs = Arc::new(AtomicUsize::new(0));
        let running = Arc::new(AtomicUsize::new(0));
        let widest = Arc::new(AtomicUsize::new(0));
        let once = {
            let (runs, running, widest) = (Arc::clone(&runs), Arc::clone(&running), Arc::clone(&widest));
            move || {
                let (runs, running, widest) = (Arc::clone(&runs), Arc::clone(&running), Arc::clone(&widest));
                async move {
                    runs.fetch_add(1, Ordering::Relaxed);
                    widest.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::Relaxed);
                    Ok::<_, io::Error>(())
                }
            }
        };
        in_flight(10, 4, once).await.unwrap();
        assert_eq!(
            (runs.load(Ordering::Relaxed), widest.load(Ordering::Relaxed)),
            (10, 4)
        );
    }

    #[tokio::test]
    async fn an_error_ends_either_loop() {
        let fails = || async { Err::<(), _>(io::Error::other("no")) };
        assert!(sequential(3, fails).await.is_err());
        assert!(in_flight(3, 2, fails).await.is_err());
    }
}
