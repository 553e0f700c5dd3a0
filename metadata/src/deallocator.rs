//! Frees written batches on a thread of its own.
//!
//! A record has some six allocations that were made on another core, and freeing those of full batches took a fifteenth
//! of the writer's time. So while the writer has a backlog, this thread frees them. It is created at the first full
//! batch, and sleeps otherwise.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::limits::DEALLOCATOR_PATCHES;
use crate::queue::TakenBatch;

/// The thread, once it exists. It ends when this value is dropped.
#[derive(Debug, Default)]
pub(crate) struct Deallocator {
    batches: Option<SyncSender<TakenBatch>>,
}

impl Deallocator {
    /// Frees a batch: on the thread if the batch is large enough to pay for waking it and it is free, else here.
    pub(crate) fn free(&mut self, taken: TakenBatch) {
        if taken.len() < DEALLOCATOR_PATCHES {
            return;
        }
        if self.batches.is_none() {
            let (batches, received) = sync_channel(1);
            let work = move || received.into_iter().for_each(drop);
            let thread = thread::Builder::new().name("baton-deallocator".to_owned());
            // Without the thread, batches are freed here.
            self.batches = thread.spawn(work).is_ok().then_some(batches);
        }
        if let Some(batches) = &self.batches {
            match batches.try_send(taken) {
                Ok(()) => {}
                Err(TrySendError::Full(taken) | TrySendError::Disconnected(taken)) => drop(taken),
            }
        }
    }
}
