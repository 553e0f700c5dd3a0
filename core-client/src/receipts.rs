//! Tells the exec-server which commands have been received to their last event, with the next start.
//!
//! The exec-server keeps the output of a command with a grace after its end, because its client may have lost the last
//! events with its session. A client that starts one command after another thus keeps none there, and sends nothing for
//! it but 16 bytes of a start. What the last commands of a client leave is kept for their grace.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_proto::ProcessId;
use baton_proto::limits::RECEIVED_MAX;
use bytes::Bytes;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Receipts(Mutex<VecDeque<ProcessId>>);

impl Receipts {
    /// The caller has all events of this command.
    pub(crate) fn add(&self, process: ProcessId) {
        let mut received = self.lock();
        if received.len() == RECEIVED_MAX {
            received.pop_front();
        }
        received.push_back(process);
    }

    /// `Start.received` of the next start.
    pub(crate) fn take(&self) -> Bytes {
        let mut received = self.lock();
        let ids = received.drain(..).flat_map(|ProcessId(id)| id);
        ids.collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ProcessId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_told_once_and_of_too_many_the_latest() {
        let receipts = Receipts::default();
        assert!(receipts.take().is_empty());
        let id = |n: usize| ProcessId([n as u8; 16]);
        receipts.add(id(1));
        receipts.add(id(2));
        assert_eq!(receipts.take()[..], [[1; 16], [2; 16]].concat());
        assert!(receipts.take().is_empty());
        (0..=RECEIVED_MAX).for_each(|n| receipts.add(id(n)));
        let told = receipts.take();
        assert_eq!((told.len(), told[0]), (RECEIVED_MAX * 16, 1));
    }
}
