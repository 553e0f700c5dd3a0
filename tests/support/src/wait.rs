//! Waiting for an expected event, with a deadline.

use tokio::time::{sleep, timeout};

use crate::limits::{LOOK_AGAIN, PATIENCE};

/// Awaits `future`.
///
/// # Panics
/// If it takes longer than [`PATIENCE`].
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("this happens in time")
}

/// Polls `condition` until it holds, for changes that raise no event.
///
/// # Panics
/// If it does not hold within [`PATIENCE`]; `what` is in the message.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let held = timeout(PATIENCE, async {
        while !condition() {
            sleep(LOOK_AGAIN).await;
        }
    });
    assert!(held.await.is_ok(), "not within {PATIENCE:?}: {what}");
}
