//! Waiting for what must happen, with a deadline.

use tokio::time::{sleep, timeout};

use crate::limits::{LOOK_AGAIN, PATIENCE};

/// What `future` resolves to.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("this happens in time")
}

/// Tests `condition` again until it holds. For changes that raise no event.
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
