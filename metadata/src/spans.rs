//! `metadata.persist` and `metadata.flush`: writes and barriers of the store, as spans in traces of their own that link
//! to the spans that caused them.
//!
//! A write or a barrier that no sampled span caused has no span. Of the other writes one in
//! [`WRITES_PER_SPAN`](crate::limits::WRITES_PER_SPAN) has one, because under load every command causes a write.

use std::time::Instant;

use baton_trace::attribute;
use baton_trace::record::{Anchor, CallRecord, Side, StageRecord};
use baton_trace::recorder::Recorder;
use baton_trace::stage::StageId;
use baton_trace::stage::metadata::{METADATA_FLUSH, METADATA_PERSIST};
use baton_trace::status::RpcStatus;
use baton_trace::w3c::TraceContext;
use opentelemetry::KeyValue;

use crate::barrier::{FlushError, Flushed};
use crate::limits::{SPAN_LINKS_MAX, WRITES_PER_SPAN};
use crate::link::Link;
use crate::queue::TakenBatch;
use crate::store::{WriteError, WriteSummary};

/// gRPC's UNAVAILABLE: a retry may succeed.
const UNAVAILABLE: RpcStatus = RpcStatus(14);

/// Selects the writes that become spans.
#[derive(Debug, Default)]
pub(crate) struct SpanRate {
    /// Writes since the last span.
    since: u32,
}

impl SpanRate {
    fn is_due(&mut self) -> bool {
        self.since += 1;
        let is_due = self.since >= WRITES_PER_SPAN;
        if is_due {
            self.since = 0;
        }
        is_due
    }
}

/// Records the span of a written batch. A failed write has no span: it is retried, and the span of the successful one
/// starts when its oldest entry was queued.
pub(crate) fn persist(
    recorder: &Recorder,
    writes: &mut SpanRate,
    taken: &TakenBatch,
    [began, ended]: [Instant; 2],
    result: &Result<WriteSummary, WriteError>,
) {
    let (Ok(written), Some(oldest), true) = (result, taken.oldest(), recorder.is_on()) else {
        return;
    };
    let links: Vec<_> = taken.links().take(SPAN_LINKS_MAX).collect();
    if links.is_empty() || !writes.is_due() {
        return;
    }
    let queued = began.saturating_duration_since(oldest).as_nanos();
    let attributes = vec![
        number(attribute::META_PATCHES, taken.len()),
        number(attribute::META_ROWS, written.rows),
        number(attribute::META_QUEUE_NS, queued),
    ];
    finish(
        recorder,
        METADATA_PERSIST,
        [oldest, ended],
        &links,
        RpcStatus(0),
        attributes,
    );
}

/// Records the span of a completed barrier.
pub(crate) fn flush(
    recorder: &Recorder,
    link: Option<Link>,
    interval: [Instant; 2],
    result: &Result<Flushed, FlushError>,
) {
    if !recorder.is_on() {
        return;
    }
    let (status, dropped) = match result {
        Ok(_) => (RpcStatus(0), 0),
        Err(FlushError::Failed { dropped: count, .. } | FlushError::Dropped { count }) => {
            (UNAVAILABLE, *count)
        }
        Err(FlushError::Stopped | FlushError::TooMany) => (UNAVAILABLE, 0),
    };
    let attributes = match dropped {
        0 => Vec::new(),
        count => vec![number(attribute::META_DROPPED, count)],
    };
    finish(
        recorder,
        METADATA_FLUSH,
        interval,
        link.as_slice(),
        status,
        attributes,
    );
}

fn finish(
    recorder: &Recorder,
    stage: StageId,
    [start, end]: [Instant; 2],
    links: &[Link],
    status: RpcStatus,
    attributes: Vec<KeyValue>,
) {
    if links.is_empty() {
        return;
    }
    // The writer uses the operating system's clock, as calls do outside of a simulation.
    let anchor = Anchor {
        instant: Instant::now(),
        unix_ns: baton_trace::record::unix_now_ns(),
    };
    recorder.finish(CallRecord {
        side: Side::Server,
        context: TraceContext::new_root(true),
        parent: None,
        links: links.iter().map(Link::context).collect(),
        method: "".into(),
        anchor,
        stages: vec![StageRecord::between(&anchor, stage, start, end)],
        status,
        clock: None,
        server_unix_ns: None,
        server_calls: Vec::new(),
        attributes,
        command: None,
    });
}

fn number(key: &'static str, value: impl TryInto<i64>) -> KeyValue {
    KeyValue::new(key, value.try_into().unwrap_or(i64::MAX))
}
