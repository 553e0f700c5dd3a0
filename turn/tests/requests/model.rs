//! A naive correlator: it keeps every request for ever and searches all of them each time.

use std::time::{Duration, Instant};

use baton_turn::requests::{Bounds, Counters};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// The number of settlements before this one.
    Matched(usize),
    Lost(usize),
    LateReported(usize),
}

#[derive(Debug, Clone, Copy)]
struct Request {
    ordinal: u64,
    start: Instant,
    end: Option<Instant>,
    state: State,
}

/// What the model expects of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Matched { start: Instant, total: Duration },
    Late,
    Duplicate,
    Unknown,
}

pub(crate) struct Model {
    bounds: Bounds,
    requests: Vec<Request>,
    settled: usize,
    pub(crate) counters: Counters,
}

impl Model {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            requests: Vec::new(),
            settled: 0,
            counters: Counters::default(),
        }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.requests.last().map(|request| request.ordinal)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.requests
            .iter()
            .filter(|request| request.state == State::Waiting)
            .count()
    }

    fn settle(&mut self, at: usize, state: impl Fn(usize) -> State) {
        self.requests[at].state = state(self.settled);
        self.settled += 1;
    }

    fn lose(&mut self, at: usize) {
        self.counters.lost += 1;
        self.settle(at, State::Lost);
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        for at in 0..self.requests.len() {
            let Request { start, state, .. } = self.requests[at];
            if state == State::Waiting && now - start >= self.bounds.report_timeout {
                self.lose(at);
            }
        }
    }

    /// Whether the ordinal may be used.
    pub(crate) fn start(&mut self, ordinal: u64, now: Instant) -> bool {
        if self.last().is_some_and(|last| ordinal <= last) {
            return false;
        }
        self.expire(now);
        if self.waiting() == self.bounds.waiting {
            let oldest = self
                .requests
                .iter()
                .position(|request| request.state == State::Waiting);
            self.lose(oldest.unwrap());
        }
        self.counters.started += 1;
        self.requests.push(Request {
            ordinal,
            start: now,
            end: None,
            state: State::Waiting,
        });
        true
    }

    /// Whether the end may be stamped.
    pub(crate) fn end(&mut self, ordinal: u64, now: Instant) -> bool {
        self.expire(now);
        let found = self
            .requests
            .iter_mut()
            .find(|request| request.ordinal == ordinal);
        match found {
            Some(request) if request.state == State::Waiting && request.end.is_none() => {
                request.end = Some(now);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn report(&mut self, ordinal: u64, now: Instant) -> Expected {
        self.expire(now);
        let Some(at) = self
            .requests
            .iter()
            .position(|request| request.ordinal == ordinal)
        else {
            self.counters.unknown += 1;
            return Expected::Unknown;
        };
        let Request {
            start, end, state, ..
        } = self.requests[at];
        let is_forgotten = |settlement: usize| self.settled - settlement > self.bounds.remembered;
        match state {
            State::Waiting => {
                self.counters.matched += 1;
                self.settle(at, State::Matched);
                let total = end.unwrap_or(now) - start;
                Expected::Matched { start, total }
            }
            State::Matched(since) | State::Lost(since) | State::LateReported(since)
                if is_forgotten(since) =>
            {
                self.counters.unknown += 1;
                Expected::Unknown
            }
            State::Lost(since) => {
                self.counters.late += 1;
                self.requests[at].state = State::LateReported(since);
                Expected::Late
            }
            State::Matched(_) | State::LateReported(_) => {
                self.counters.duplicate += 1;
                Expected::Duplicate
            }
        }
    }
}
