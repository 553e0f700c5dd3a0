//! Asking to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves with the number of the first SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn stop() -> i32 {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [mut interrupt, mut terminate, mut hangup] = kinds.map(|kind| signal(kind).ok());
    let wait = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
        Some(signal) => {
            signal.recv().await;
        }
        // Handlers cannot be installed: the default action will do.
        None => std::future::pending().await,
    };
    tokio::select! {
        () = wait(&mut interrupt) => SignalKind::interrupt().as_raw_value(),
        () = wait(&mut terminate) => SignalKind::terminate().as_raw_value(),
        () = wait(&mut hangup) => SignalKind::hangup().as_raw_value(),
    }
}
