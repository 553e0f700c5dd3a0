//! Runs lookups, a bounded number at a time, each on a thread that may wait for the file system or the user database.
//!
//! Clients share the slots by key: a client whose file system hangs leaves slots to others. A lookup that is given up
//! keeps its slot until the file system answers, so hung threads never exceed the slots.
//!
//! The threads are not those of the runtime (`spawn_blocking`): the runtime waits for its threads when it ends, so a
//! hung mount would keep the exec-server from exiting.

use std::thread;
use std::time::Instant;

use baton_channel::key::PublicKey;
use baton_channel::slots::{SlotLimits, Slots};
use baton_export::clock;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::error::FilesError;
use crate::limits::{LOOKUP_STACK, LOOKUP_TIMEOUT, LOOKUPS_AT_ONCE, LOOKUPS_QUEUE, SHARE_OF_FREE};

/// See the [module](self). Clones share the slots.
#[derive(Clone)]
pub(crate) struct Lookups(Slots<PublicKey>);

impl Lookups {
    pub(crate) fn new() -> Self {
        Self(Slots::new(SlotLimits {
            slots: LOOKUPS_AT_ONCE,
            weight: SHARE_OF_FREE,
            queue: LOOKUPS_QUEUE,
        }))
    }

    /// Runs `look` with its deadline, [`LOOKUP_TIMEOUT`] from now. If the returned future is dropped, a lookup that has
    /// begun ends by itself.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: PublicKey,
        look: impl FnOnce(Instant) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let deadline = clock::now() + LOOKUP_TIMEOUT;
        let request = self.0.request(client).map_err(|_| FilesError::Busy)?;
        let looking = async {
            let slot = request.granted().await;
            let (answer, answered) = oneshot::channel();
            let lookup = thread::Builder::new()
                .name("baton-files".to_owned())
                .stack_size(LOOKUP_STACK);
            lookup
                .spawn(move || {
                    let found = look(deadline);
                    // Before the answer, so that a client that has it finds the slot free.
                    drop(slot);
                    let _ = answer.send(found);
                })
                .map_err(FilesError::Io)?;
            let lost = || FilesError::Io(std::io::Error::other("a lookup has failed"));
            answered.await.unwrap_or_else(|_| Err(lost()))
        };
        timeout_at(deadline.into(), looking)
            .await
            .unwrap_or(Err(FilesError::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    fn key(client: u8) -> PublicKey {
        PublicKey::from_bytes([client; 32])
    }

    /// A lookup that hangs until the sender is dropped.
    fn hang(
        held: &std::sync::Arc<std::sync::Mutex<mpsc::Receiver<()>>>,
    ) -> impl FnOnce(Instant) -> Result<(), FilesError> + use<> {
        let held = std::sync::Arc::clone(held);
        move |_| {
            let _ = held.lock().unwrap().recv();
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_system_that_hangs_fails_its_client_in_time_and_leaves_slots_to_others() {
        let (release, held) = mpsc::channel();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        let lookups = Lookups::new();
        let begun = tokio::time::Instant::now();
        let all = (0..LOOKUPS_AT_ONCE).map(|_| lookups.run(key(1), hang(&held)));
        for ended in join_all(all).await {
            assert!(matches!(ended, Err(FilesError::TimedOut)), "{ended:?}");
        }
        assert!(begun.elapsed() < LOOKUP_TIMEOUT + Duration::from_millis(10));
        let taken = lookups.0.taken();
        assert_eq!(taken, LOOKUPS_AT_ONCE / 4 * 3, "hung lookups keep their slots");
        tokio::time::resume();
        assert_eq!(lookups.run(key(2), |_| Ok(7)).await.unwrap(), 7);
        drop(release);
        while lookups.0.taken() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lookups.run(key(1), |_| Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn lookups_beyond_the_queue_are_refused_at_once() {
        let (release, held) = mpsc::channel();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        let lookups = Lookups::new();
        let mut waiting = Vec::new();
        let refused = loop {
            let mut lookup = Box::pin(lookups.run(key(1), hang(&held)));
            match (&mut lookup).now_or_never() {
                None => waiting.push(lookup),
                Some(refused) => break refused,
            }
        };
        assert!(matches!(refused, Err(FilesError::Busy)), "{refused:?}");
        assert_eq!(waiting.len(), LOOKUPS_AT_ONCE / 4 * 3 + LOOKUPS_QUEUE / 2);
        drop(release);
        for ended in join_all(waiting).await {
            ended.unwrap();
        }
    }

    #[tokio::test]
    async fn a_lookup_that_panics_is_an_error() {
        let lookups = Lookups::new();
        let failed = lookups
            .run(key(1), |_| -> Result<(), _> { panic!("on purpose") })
            .await;
        assert!(matches!(failed, Err(FilesError::Io(_))), "{failed:?}");
        assert_eq!(lookups.0.taken(), 0);
    }
}
