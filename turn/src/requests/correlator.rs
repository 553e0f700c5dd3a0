//! The state machine that matches reports with requests by ordinal.
//!
//! A request *waits* for its report from its start. It is *settled* when the report comes, or when it is given up as
//! lost: because [`Bounds::report_timeout`] has passed, because [`Bounds::waiting`] later requests wait as well, or
//! because the stream has ended. The last [`Bounds::remembered`] settled requests are remembered, so that a further
//! report is counted as late or as a duplicate. Every started request is exactly one of waiting, matched and lost.
//!
//! Ordinals increase from request to request. So a repeated ordinal is recognised without a memory of all ordinals.
//!
//! Time is an argument. A reading that is earlier than the one before counts as the one before, so that a clock that
//! goes back settles nothing twice. Under a clock that stands still the bound on the number holds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{
    REPORT_TIMEOUT, SETTLED_REQUESTS_MAX, WAITING_REQUESTS_CEILING_MAX, WAITING_REQUESTS_MAX,
};
use crate::requests::timing::{ReportedPart, RequestTiming};

/// What a [`Correlator`] may hold, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests that wait for a report at once; the oldest is lost when another one starts. From 1 to
    /// [`WAITING_REQUESTS_CEILING_MAX`]; other values are moved there.
    pub waiting: usize,
    /// How long a request waits from its start. A report at exactly this time is late.
    pub report_timeout: Duration,
    /// Settled requests whose further reports are recognised. The same range.
    pub remembered: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            waiting: WAITING_REQUESTS_MAX,
            report_timeout: REPORT_TIMEOUT,
            remembered: SETTLED_REQUESTS_MAX,
        }
    }
}

/// Why a request was not stamped. The caller is at fault; the stream's requests are as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The ordinal is not above the last one.
    #[error(
        "ordinal {ordinal} is not above {last}, the last one of this stream; give each request a higher one"
    )]
    Repeated {
        /// The given ordinal.
        ordinal: u64,
        /// The highest ordinal so far.
        last: u64,
    },
    /// The last request had the highest ordinal that there is.
    #[error("this stream has no ordinal above {}; open another stream", u64::MAX)]
    Overflow,
}

/// Why the end of a request was not stamped. The request's result is not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// The request does not wait for a report: it was matched or lost before, or never started.
    #[error("request {ordinal} does not wait for a report; stamp the end before the report is passed on")]
    NotWaiting {
        /// The given ordinal.
        ordinal: u64,
    },
    /// The end was stamped before.
    #[error("the end of request {ordinal} is already stamped; stamp it once, at the response's last byte")]
    Repeated {
        /// The given ordinal.
        ordinal: u64,
    },
}

/// What became of one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimingReport {
    /// It belongs to this request, which waited for it.
    Matched(RequestTiming),
    /// Its request was already lost. Nothing is measured, because the request's start is forgotten.
    Late,
    /// A report of this request came before.
    Duplicate,
    /// No request of this stream had its ordinal, or the request was settled so long ago that it is forgotten.
    Unknown,
}

/// What happened on a stream so far. `matched + lost`, and the requests that still wait, are `started`. Every report is
/// counted once: as matched, late, duplicate or unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests with a stamp.
    pub started: u64,
    /// Requests whose report came in time.
    pub matched: u64,
    /// Requests that were given up without a report.
    pub lost: u64,
    /// Reports of lost requests, the first of each.
    pub late: u64,
    /// Further reports of a request.
    pub duplicate: u64,
    /// Reports without a request that is remembered, and unreadable ones.
    pub unknown: u64,
}

/// A request without a report.
#[derive(Debug)]
struct Waiting {
    ordinal: u64,
    start: Instant,
    end: Option<Instant>,
}

/// A request that waits no more.
#[derive(Debug)]
struct Settled {
    ordinal: u64,
    /// Whether a report came, in time or late.
    is_reported: bool,
}

/// Matches the reports of one stream with its requests.
#[derive(Debug)]
pub struct Correlator {
    bounds: Bounds,
    /// In the order of their starts, which is that of their ordinals.
    waiting: VecDeque<Waiting>,
    /// In the order of their settlement.
    settled: VecDeque<Settled>,
    last: Option<u64>,
    /// The latest reading of the clock.
    latest: Option<Instant>,
    counters: Counters,
}

impl Default for Correlator {
    fn default() -> Self {
        Self::with_bounds(Bounds::default())
    }
}

impl Correlator {
    /// A stream without requests. It allocates nothing before the first one.
    pub fn with_bounds(bounds: Bounds) -> Self {
        let within = |number: usize| number.clamp(1, WAITING_REQUESTS_CEILING_MAX);
        Self {
            bounds: Bounds {
                waiting: within(bounds.waiting),
                remembered: within(bounds.remembered),
                ..bounds
            },
            waiting: VecDeque::new(),
            settled: VecDeque::new(),
            last: None,
            latest: None,
            counters: Counters::default(),
        }
    }

    /// Stamps the start of a request with the next ordinal, which it returns. The first is 0.
    ///
    /// # Errors
    /// [`StartError::Overflow`].
    pub fn start(&mut self, now: Instant) -> Result<u64, StartError> {
        let ordinal = match self.last {
            None => 0,
            Some(last) => last.checked_add(1).ok_or(StartError::Overflow)?,
        };
        self.start_as(ordinal, now)?;
        Ok(ordinal)
    }

    /// Stamps the start of a request with an ordinal of the caller, for a protocol that numbers its messages itself.
    /// Ordinals increase and may have gaps.
    ///
    /// # Errors
    /// [`StartError::Repeated`].
    pub fn start_as(&mut self, ordinal: u64, now: Instant) -> Result<(), StartError> {
        if let Some(last) = self.last
            && ordinal <= last
        {
            return Err(StartError::Repeated { ordinal, last });
        }
        let start = self.tick(now);
        while self.waiting.len() >= self.bounds.waiting {
            self.lose_oldest();
        }
        self.last = Some(ordinal);
        self.counters.started += 1;
        self.waiting.push_back(Waiting {
            ordinal,
            start,
            end: None,
        });
        Ok(())
    }

    /// Stamps the end of a request: usually the last byte of its response. The client's interval is from start to end.
    /// Without this stamp it ends with the receipt of the report.
    ///
    /// # Errors
    /// [`EndError`]: the request does not wait, or has an end.
    pub fn end(&mut self, ordinal: u64, now: Instant) -> Result<(), EndError> {
        let now = self.tick(now);
        let at = self.find(ordinal).ok_or(EndError::NotWaiting { ordinal })?;
        match &mut self.waiting[at].end {
            Some(_) => Err(EndError::Repeated { ordinal }),
            end => {
                *end = Some(now);
                Ok(())
            }
        }
    }

    /// Counts a received report, and matches it if its request waits. Of the parts, the first
    /// [`REPORT_PARTS_MAX`](crate::limits::REPORT_PARTS_MAX) are used.
    pub fn report(&mut self, ordinal: u64, parts: &[ReportedPart<'_>], now: Instant) -> TimingReport {
        let now = self.tick(now);
        if let Some(waiting) = self.find(ordinal).and_then(|at| self.waiting.remove(at)) {
            self.settle(ordinal, true);
            self.counters.matched += 1;
            let end = waiting.end.unwrap_or(now);
            return TimingReport::Matched(RequestTiming::new(ordinal, waiting.start, end, parts));
        }
        // The latest are the likeliest. A flood of unknown ordinals costs a scan of 64 KiB each.
        match self
            .settled
            .iter_mut()
            .rev()
            .find(|settled| settled.ordinal == ordinal)
        {
            Some(Settled {
                is_reported: true, ..
            }) => {
                self.counters.duplicate += 1;
                TimingReport::Duplicate
            }
            Some(lost) => {
                lost.is_reported = true;
                self.counters.late += 1;
                TimingReport::Late
            }
            None => {
                self.counters.unknown += 1;
                TimingReport::Unknown
            }
        }
    }

    /// Counts a report as unknown whose ordinal the caller cannot read: absent, negative, or above `u64::MAX`.
    pub fn report_unreadable(&mut self) {
        self.counters.unknown += 1;
    }

    /// When [`Correlator::handle_timeout`] has something to do next. `None` if nothing waits, or if that time is beyond
    /// the clock's range.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting
            .front()?
            .start
            .checked_add(self.bounds.report_timeout)
    }

    /// Counts the requests whose report is overdue as lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
    }

    /// The stream has ended: every request that still waits is lost.
    pub fn close(&mut self) {
        while !self.waiting.is_empty() {
            self.lose_oldest();
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Requests that wait for a report.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Allocated bytes, without the results that the caller has taken.
    pub fn memory(&self) -> usize {
        self.waiting.capacity() * size_of::<Waiting>() + self.settled.capacity() * size_of::<Settled>()
    }

    /// Takes a reading of the clock, and gives up what is overdue then. Returns the latest reading.
    fn tick(&mut self, now: Instant) -> Instant {
        let latest = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(latest);
        // The oldest is in front.
        while let Some(oldest) = self.waiting.front()
            && latest.saturating_duration_since(oldest.start) >= self.bounds.report_timeout
        {
            self.lose_oldest();
        }
        latest
    }

    fn find(&self, ordinal: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ordinal, |waiting| waiting.ordinal)
            .ok()
    }

    fn lose_oldest(&mut self) {
        if let Some(lost) = self.waiting.pop_front() {
            self.counters.lost += 1;
            self.settle(lost.ordinal, false);
        }
    }

    fn settle(&mut self, ordinal: u64, is_reported: bool) {
        if self.settled.len() >= self.bounds.remembered {
            self.settled.pop_front();
        }
        self.settled.push_back(Settled { ordinal, is_reported });
    }
}
