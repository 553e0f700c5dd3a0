//! Frees what was written beside the writer.
//!
//! A record is some six allocations that another core made, and freeing those of a full batch took the writer a fifteenth of its time. So while
//! it has a backlog a thread of its own frees them: made at the first full batch, asleep without one.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::limits::DEALLOCATOR_PATCHES;
use crate::queue::TakenBatch;

/// The thread, once there is one. It ends with this.
#[derive(Debug, Default)]
pub(crate) struct Deallocator {
    batches: Option<SyncSender<TakenBatch>>,
}

impl Deallocator {
    /// Frees it: beside the writer if that is worth waking anybody and nobody is behind, else here.
    pub(crate) fn free(&mut self, taken: TakenBatch) {
        if taken.len() < DEALLOCATOR_PATCHES {
            return;
        }
        if self.batches.is_none() {
            let (batches, received) = sync_channel(1);
            let work = move || received.into_iter().for_each(drop);
            let thread = thread::Builder::new().name("baton-deallocator".to_owned());
            // Without one, this frees.
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
