//! The envelope: one record of several calls that are made one after the other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use baton_mux::Stamps;
use baton_trace::command::CallProgress;
use baton_trace::recorder::Recorder;
use baton_trace::status::RpcStatus;

use super::ClientDraft;

/// A request extension: calls with clones of one envelope, made one after the other, have one call record. Each may
/// only begin when the one before has ended.
///
/// A call whose session is lost parks its unfinished record here, and the call that continues its work takes it. The
/// time between them is the stage `recover`. The record is finished by the call that ends in another way, or when the
/// last clone of the envelope is dropped.
#[derive(Clone, Default)]
pub struct Envelope(Arc<Mutex<Option<Parked>>>);

impl Envelope {
    /// An envelope that no call has used.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn park(&self, parked: Parked) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(parked);
    }

    /// The unfinished record, for the call that continues the work.
    pub(in crate::service) fn resume(&self) -> Option<Box<ClientDraft>> {
        let parked = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        parked.and_then(Parked::resume)
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope")
    }
}

/// The unfinished record of a call whose session was lost. Dropping it finishes the record as that call would have.
pub(super) struct Parked {
    /// Taken by the call that continues the work.
    pub(super) unfinished: Option<(Box<ClientDraft>, CallProgress, RpcStatus)>,
    pub(super) recorder: Recorder,
}

impl Parked {
    fn resume(mut self) -> Option<Box<ClientDraft>> {
        self.unfinished.take().map(|(draft, ..)| draft)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some((draft, progress, status)) = self.unfinished.take() {
            draft.finish(&Stamps::default(), None, None, progress, status, &self.recorder);
        }
    }
}
