//! Matches a server's timing reports with the requests that they are about.
//!
//! The client gives each request of a stream an *ordinal* and stamps its start. The server later reports, under the
//! same ordinal, the parts of its work: a name, an offset and a duration each. [`Correlator`] matches the two. It works
//! for every stream of requests and responses or of pushed messages, for example a WebSocket to a model, and knows
//! nothing about the encoding of a report.
//!
//! * [`correlator`](Correlator): the state machine, without socket or clock;
//! * [`Requests`]: the same on tokio's clock, shared by the sender and the receiver of a stream;
//! * [`RequestTiming`]: the result: every part, how it relates to the other parts, the covered time and the rest.
//!
//! A report is untrusted. Its ordinal is looked up, its parts are clamped to the client's interval, and their number
//! and the length of their names are bounded ([`limits`](crate::limits)). Parts that nest or overlap are marked and
//! never added up: [`RequestTiming::covered`] is a union, in which each nanosecond counts once.
//!
//! ```
//! use std::time::Duration;
//! use baton_turn::requests::{ReportedPart, Requests, TimingReport};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let requests = Requests::new();
//! let ordinal = requests.start().unwrap(); // goes into the request
//! # tokio::time::advance(Duration::from_millis(30)).await;
//! requests.end(ordinal).unwrap(); // the last byte of the response
//!
//! // A message of the server, decoded by the caller.
//! let part = |name, offset_ms, ms| ReportedPart {
//!     name,
//!     offset: Duration::from_millis(offset_ms),
//!     duration: Duration::from_millis(ms),
//! };
//! let parts = [part("queue", 0, 5), part("prefill", 5, 10), part("decode", 10, 10)];
//! let TimingReport::Matched(timing) = requests.report(ordinal, &parts) else {
//!     panic!("the report is in time");
//! };
//! assert_eq!(timing.covered, Duration::from_millis(20)); // not 25: two parts overlap
//! assert_eq!(timing.rest, Duration::from_millis(10)); // network and client
//! # }
//! ```

mod attribute;
mod correlator;
mod spans;
mod timing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use correlator::{Bounds, Correlator, Counters, EndError, StartError, TimingReport};
pub(crate) use spans::SpanPlace;
pub use timing::{PartRelation, PartTiming, ReportedPart, RequestTiming};

/// The requests of one stream, on tokio's clock. Clones share them: the sender of requests has one, the reader of
/// responses another.
///
/// There is no task and no timer: every call first counts the requests whose report is overdue as lost. No method
/// waits, and the lock is never held across one. Outside of a runtime the clock is the operating system's.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<Correlator>>);

impl Requests {
    /// A stream without requests, with the default [`Bounds`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream without requests, with other bounds.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(Correlator::with_bounds(bounds))))
    }

    /// [`Correlator::start`], now.
    ///
    /// # Errors
    /// As there.
    pub fn start(&self) -> Result<u64, StartError> {
        self.lock().start(now())
    }

    /// [`Correlator::start_as`], now.
    ///
    /// # Errors
    /// As there.
    pub fn start_as(&self, ordinal: u64) -> Result<(), StartError> {
        self.lock().start_as(ordinal, now())
    }

    /// [`Correlator::end`], now.
    ///
    /// # Errors
    /// As there.
    pub fn end(&self, ordinal: u64) -> Result<(), EndError> {
        self.lock().end(ordinal, now())
    }

    /// [`Correlator::report`], received now.
    pub fn report(&self, ordinal: u64, parts: &[ReportedPart<'_>]) -> TimingReport {
        self.lock().report(ordinal, parts, now())
    }

    /// [`Correlator::report_unreadable`].
    pub fn report_unreadable(&self) {
        self.lock().report_unreadable();
    }

    /// The counters, as of now.
    pub fn counters(&self) -> Counters {
        let mut correlator = self.lock();
        correlator.handle_timeout(now());
        correlator.counters()
    }

    /// The stream has ended: requests that still wait are lost. Returns the counters.
    pub fn close(&self) -> Counters {
        let mut correlator = self.lock();
        correlator.handle_timeout(now());
        correlator.close();
        correlator.counters()
    }

    /// [`Correlator::memory`].
    pub fn memory(&self) -> usize {
        self.lock().memory()
    }

    fn lock(&self) -> MutexGuard<'_, Correlator> {
        // The correlator is consistent between any two of its statements that can panic: there are none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
