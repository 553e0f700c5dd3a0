//! Puts spans together to traces.
//!
//! A trace is open until it is complete. It is complete when the roots of its parts, the root of the trace among them,
//! say how many spans they have (`baton.spans`) and as many are here; then it settles for a while and is delivered.
//! Without such a count it is complete at the end of the input. Open traces beyond [`OPEN_TRACES_BYTES`] go to a temporary file ([`Spill`]).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use baton_trace::TraceId;
use baton_trace::attribute::SPANS;
use baton_trace::stage::transport;

use super::spill::Spill;
use super::{ReadError, ReadSummary};
use crate::limits::{OPEN_TRACES_BYTES, SETTLING_TRACES};
use crate::model::{Link, NewSpan, Room, Trace, Value};

/// A span and the trace that it says it belongs to.
pub(super) struct FoundSpan<'a> {
    pub trace: u128,
    pub span: NewSpan<'a>,
}

struct OpenTrace {
    trace: Trace,
    /// Position among all traces, by their first span.
    position: u64,
    /// Spans that the calls of the trace announced.
    announced: u64,
    /// Spans that are stages.
    stages: u64,
    has_counted_root: bool,
    is_settling: bool,
}

/// The state between spans.
pub(super) struct Assembler<'o> {
    deliver: &'o mut dyn FnMut(Trace),
    open: HashMap<u128, OpenTrace>,
    open_bytes: usize,
    open_bytes_max: usize,
    settling: VecDeque<u128>,
    /// The low halves of the ids of delivered traces. Ids are random; 8 bytes make a file given twice known.
    delivered: HashSet<u64>,
    positions: u64,
    /// What the trace delivered last needed.
    room: Room,
    resource_serial: u64,
    /// Holds the resource of the current group of spans.
    resource: Trace,
    is_resource_known: bool,
    /// Traces that have spans of the current group, whose resource is not known yet.
    without_resource: Vec<u128>,
    /// Spans to leave out, because a document is read again from its beginning.
    pub(super) skip: u64,
    saw_traces: bool,
    /// Spans of other traces are left out.
    pub(super) only: Option<u128>,
    spill: Option<Spill>,
    pub(super) failure: Option<ReadError>,
    pub(super) summary: ReadSummary,
}

impl<'o> Assembler<'o> {
    pub(super) fn new(deliver: &'o mut dyn FnMut(Trace)) -> Self {
        Self {
            deliver,
            open: HashMap::new(),
            open_bytes: 0,
            open_bytes_max: OPEN_TRACES_BYTES,
            settling: VecDeque::new(),
            delivered: HashSet::new(),
            positions: 0,
            room: Room::default(),
            resource_serial: 0,
            resource: Trace::new(TraceId::INVALID),
            is_resource_known: false,
            without_resource: Vec::new(),
            skip: 0,
            saw_traces: false,
            only: None,
            spill: None,
            failure: None,
            summary: ReadSummary::default(),
        }
    }

    /// Keeps fewer bytes of open traces in memory.
    pub(super) fn set_open_bytes_max(&mut self, bytes: usize) {
        self.open_bytes_max = bytes;
    }

    /// The document has a field that only traces have.
    pub(super) fn saw_traces(&mut self) {
        self.saw_traces = true;
    }

    /// Whether [`saw_traces`](Self::saw_traces) was called since the last time.
    pub(super) fn take_saw_traces(&mut self) -> bool {
        std::mem::take(&mut self.saw_traces)
    }

    /// A document ended, maybe in the middle of a group.
    pub(super) fn end_document(&mut self) {
        self.skip = 0;
        self.end_resource();
    }

    pub(super) fn begin_resource(&mut self) {
        self.resource_serial += 1;
        self.resource = Trace::new(TraceId::INVALID);
        self.is_resource_known = false;
    }

    pub(super) fn set_resource<'a>(&mut self, attributes: impl Iterator<Item = (&'a str, Value<'a>)>) {
        self.is_resource_known = self
            .resource
            .add_resource(self.resource_serial, attributes)
            .is_some();
        let serial = self.resource_serial;
        for id in std::mem::take(&mut self.without_resource) {
            if let Some(open) = self.open.get_mut(&id) {
                self.open_bytes -= open.trace.bytes();
                open.trace.fill_resource(serial, self.resource.first_resource());
                self.open_bytes += open.trace.bytes();
            }
        }
    }

    pub(super) fn end_resource(&mut self) {
        self.without_resource.clear();
        self.is_resource_known = true;
        self.make_room();
    }

    pub(super) fn add<'a>(
        &mut self,
        found: &FoundSpan<'_>,
        attributes: impl Iterator<Item = (&'a str, Value<'a>)>,
        links: impl Iterator<Item = Link<'a>>,
    ) {
        if self.only.is_some_and(|only| only != found.trace) {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.summary.spans += 1;
        if found.trace == 0 || found.span.id == 0 {
            self.summary.spans_without_id += 1;
            return;
        }
        if self.delivered.contains(&(found.trace as u64)) {
            self.summary.late_spans += 1;
            return;
        }
        let open = match self.open.entry(found.trace) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                self.positions += 1;
                let trace = Trace::with_room(TraceId::from(found.trace), self.room);
                self.open_bytes += trace.bytes();
                vacant.insert(OpenTrace {
                    trace,
                    position: self.positions,
                    announced: 0,
                    stages: 0,
                    has_counted_root: false,
                    is_settling: false,
                })
            }
        };
        let before = open.trace.bytes();
        let resource = open.trace.find_resource(self.resource_serial).or_else(|| {
            if !self.is_resource_known {
                self.without_resource.push(found.trace);
            }
            open.trace
                .add_resource(self.resource_serial, self.resource.first_resource())
        });
        let added =
            resource.and_then(|resource| open.trace.add_span(&found.span, resource, attributes, links));
        let added = added.copied();
        self.open_bytes += open.trace.bytes() - before;
        let Some(span) = added else {
            self.summary.spans_without_id += 1;
            return;
        };
        open.stages += u64::from(span.stage.is_some());
        if matches!(span.stage, Some(transport::CALL | transport::RPC))
            && let Some(count) = open.trace.integer(&span, SPANS)
        {
            open.announced = open.announced.saturating_add(count.max(0).unsigned_abs());
            open.has_counted_root |= span.parent.is_none();
        }
        if open.has_counted_root && !open.is_settling && open.stages >= open.announced {
            open.is_settling = true;
            self.settling.push_back(found.trace);
        }
        if self.open_bytes > self.open_bytes_max || self.settling.len() > SETTLING_TRACES {
            self.make_room();
        }
    }

    /// Delivers what has settled, and writes what is too much to the temporary file.
    fn make_room(&mut self) {
        // A resource that follows its spans must find them.
        if !self.without_resource.is_empty() {
            return;
        }
        // Not the last one: its document may go on with the spans of another component.
        while self.settling.len() > SETTLING_TRACES
            || self.open_bytes > self.open_bytes_max && self.settling.len() > 1
        {
            let settled = self.settling.pop_front();
            if let Some(open) = settled.and_then(|id| self.open.remove(&id)) {
                self.open_bytes -= open.trace.bytes();
                self.deliver(open.trace);
            }
        }
        if self.open_bytes <= self.open_bytes_max || self.failure.is_some() {
            return;
        }
        self.open_bytes = 0;
        // Their later spans must not be delivered without the ones that are written now.
        self.settling.clear();
        let mut traces: Vec<_> = self.open.drain().map(|(_, open)| open).collect();
        traces.sort_unstable_by_key(|open| open.position);
        let written = match &mut self.spill {
            Some(spill) => Ok(spill),
            none => Spill::create().map(|spill| none.insert(spill)),
        };
        let traces = traces.into_iter().map(|open| open.trace);
        let written = written.and_then(|spill| spill.write(traces));
        if let Err(source) = written {
            self.failure = Some(ReadError::Spill(source));
        }
    }

    fn deliver(&mut self, mut trace: Trace) {
        let bytes = trace.id().to_bytes();
        self.delivered.insert(u128::from_be_bytes(bytes) as u64);
        self.room = trace.room();
        self.summary.duplicate_spans += trace.remove_duplicates();
        self.summary.traces += 1;
        (self.deliver)(trace);
    }

    /// Delivers every remaining trace.
    pub(super) fn finish(mut self) -> Result<ReadSummary, ReadError> {
        let mut left: Vec<_> = self.open.drain().map(|(_, open)| open).collect();
        left.sort_unstable_by_key(|open| open.position);
        let left = left.into_iter().map(|open| open.trace);
        match self.spill.take() {
            None => left.for_each(|trace| self.deliver(trace)),
            Some(mut spill) => {
                spill.write(left).map_err(ReadError::Spill)?;
                self.summary.spilled_bytes = spill.len();
                for part in 0..spill.parts() {
                    for trace in spill.read(part).map_err(ReadError::Spill)? {
                        self.deliver(trace);
                    }
                }
            }
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.summary),
        }
    }
}
