//! Frees what was written beside the writer.
//!
//! A record is some six allocations that another core made, and freeing those of a full batch took the writer a fifteenth of its time. So while
//! it has a backlog a thread of its own frees them: made at the first full batch, asleep without one.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::limits::FREED_BESIDE;
use crate::queue::Flight;

/// The thread, once there is one. It ends with this.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    flights: Option<SyncSender<Flight>>,
}

impl Reaper {
    /// Frees it: beside the writer if that is worth waking anybody and nobody is behind, else here.
    pub(crate) fn free(&mut self, flight: Flight) {
        if flight.len() < FREED_BESIDE {
            return;
        }
        if self.flights.is_none() {
            let (flights, taken) = sync_channel(1);
            let work = move || taken.into_iter().for_each(drop);
            let thread = thread::Builder::new().name("baton-reaper".to_owned());
            // Without one, this frees.
            self.flights = thread.spawn(work).is_ok().then_some(flights);
        }
        if let Some(flights) = &self.flights {
            match flights.try_send(flight) {
                Ok(()) => {}
                Err(TrySendError::Full(flight) | TrySendError::Disconnected(flight)) => drop(flight),
            }
        }
    }
}
