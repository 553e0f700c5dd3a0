//! Puts a matched request on a trace.
//!
//! A request is one span, `request`, with a child for each of the server's parts, `server.<name>`, all with explicit
//! times. Attributes cannot show how parts lie to one another, and a trace viewer draws nested and overlapping children
//! as what they are. Nothing is added up. Parts that touch are exported 1 µs apart.

use std::time::{Duration, UNIX_EPOCH};

use baton_trace::record::Anchor;
use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use crate::limits::SPAN_GAP_NS;
use crate::requests::attribute;
use crate::requests::correlator::Counters;
use crate::requests::timing::{PartRelation, PartTiming, RequestTiming};
use crate::span::step_ids;

/// Where a request is recorded.
pub(crate) struct SpanPlace<'a, T> {
    pub(crate) tracer: &'a T,
    /// Its span is the parent.
    pub(crate) parent: &'a Context,
    /// Gives wall-clock times.
    pub(crate) anchor: &'a Anchor,
    /// The parent's start as exported. A request that is measured to start earlier is moved here with its parts.
    pub(crate) not_before_ns: u64,
}

impl RequestTiming {
    /// Records the request as a child of the span of `parent`. `anchor` gives its wall-clock time. Below a step,
    /// [`Step::record_request`](crate::Step::record_request) does this. If `parent` is the context of a step or of a
    /// tool call, the spans have its turn and step.
    pub fn record<T: Tracer>(&self, tracer: &T, parent: &Context, anchor: &Anchor) {
        self.record_at(&SpanPlace {
            tracer,
            parent,
            anchor,
            not_before_ns: 0,
        });
    }

    pub(crate) fn record_at<T: Tracer>(&self, place: &SpanPlace<'_, T>) {
        let start_ns = place.anchor.unix_ns_of(self.start).max(place.not_before_ns);
        let at = |offset: Duration| {
            UNIX_EPOCH + Duration::from_nanos(start_ns.saturating_add(nanoseconds(offset)))
        };
        let begin = |name: String, offset, parent: &Context, mut attributes: Vec<KeyValue>| {
            attributes.extend_from_slice(step_ids(place.parent));
            let builder = SpanBuilder::from_name(name)
                .with_start_time(at(offset))
                .with_attributes(attributes);
            place.tracer.build_with_context(builder, parent)
        };
        let mut request = begin(
            "request".to_owned(),
            Duration::ZERO,
            place.parent,
            self.attributes(),
        );
        let within = place
            .parent
            .with_remote_span_context(request.span_context().clone());
        for part in &self.parts {
            let name = format!("server.{}", part.name);
            let mut span = begin(name, part.offset, &within, part.attributes());
            span.end_with_timestamp(at(self.exported_end(part)));
        }
        request.end_with_timestamp(at(self.total));
    }

    /// The end of a part on its span: 1 µs before the part that follows at once, because Jaeger omits a span that touches
    /// the next one from its critical path, and never before its start.
    fn exported_end(&self, part: &PartTiming) -> Duration {
        let gap = Duration::from_nanos(SPAN_GAP_NS);
        let end = part.offset + part.duration;
        let starts = self.parts.iter().map(|other| other.offset);
        let next = starts.filter(|start| (end..end + gap).contains(start)).min();
        let latest = next.map_or(end, |next| next.saturating_sub(gap));
        end.min(latest).max(part.offset)
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![
            // Decimal digits: an attribute's integer has a sign, so it cannot hold every ordinal.
            KeyValue::new(attribute::REQUEST_ORDINAL, self.ordinal.to_string()),
            KeyValue::new(attribute::REQUEST_COVERED_NS, integer(nanoseconds(self.covered))),
            KeyValue::new(attribute::REQUEST_REST_NS, integer(nanoseconds(self.rest))),
        ];
        if self.dropped_parts > 0 {
            let dropped = integer(u64::try_from(self.dropped_parts).unwrap_or(u64::MAX));
            attributes.push(KeyValue::new(attribute::REQUEST_DROPPED_PARTS, dropped));
        }
        attributes
    }
}

impl PartTiming {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new(attribute::ESTIMATED, true)];
        if self.relation != PartRelation::Apart {
            attributes.push(KeyValue::new(
                attribute::REQUEST_PART_RELATION,
                self.relation.as_str(),
            ));
        }
        if self.is_clamped {
            attributes.push(KeyValue::new(attribute::REQUEST_PART_CLAMPED, true));
        }
        attributes
    }
}

impl Counters {
    /// The counters as attributes of a span, usually the step's.
    pub fn attributes(&self) -> [KeyValue; 6] {
        [
            (attribute::REQUESTS_STARTED, self.started),
            (attribute::REQUESTS_MATCHED, self.matched),
            (attribute::REQUESTS_LOST, self.lost),
            (attribute::REQUESTS_LATE, self.late),
            (attribute::REQUESTS_DUPLICATE, self.duplicate),
            (attribute::REQUESTS_UNKNOWN, self.unknown),
        ]
        .map(|(name, count)| KeyValue::new(name, integer(count)))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
