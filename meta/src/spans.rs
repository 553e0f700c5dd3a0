//! Spans of what no call waits for: `meta.persist`, a batch on its way to the disk, and `meta.flush`, a barrier. Each is the root of
//! a trace of its own, linked to the spans it is about, and exported only where one of those is sampled.

use std::time::Instant;

use baton_trace::export::attribute::{META_GENERATION, META_QUEUE_AGE_NS, META_UPDATES};
use baton_trace::record::{Anchor, BackgroundRecord};
use baton_trace::recorder::Recorder;
use baton_trace::stage::StageId;
use baton_trace::stage::meta::{META_FLUSH, META_PERSIST};
use baton_trace::w3c::{Baggage, TraceContext, Tracestate};
use baton_trace::{KeyValue, TraceFlags};

use crate::barrier::{FlushError, Flushed};
use crate::limits::SPAN_LINKS_MAX;
use crate::link::Link;
use crate::queue::Flight;
use crate::store::{WriteError, Written};

/// A batch that is being written; nothing if nobody would see its span.
pub(crate) struct Persist(Option<About>);

struct About {
    links: Vec<Link>,
    oldest: Option<Instant>,
    updates: usize,
}

impl Persist {
    pub(crate) fn begin(recorder: &Recorder, flight: &Flight) -> Self {
        if !recorder.is_on() {
            return Self(None);
        }
        let links: Vec<_> = flight.links().take(SPAN_LINKS_MAX).collect();
        Self((!links.is_empty()).then(|| About {
            links,
            oldest: flight.oldest(),
            updates: flight.len(),
        }))
    }

    pub(crate) fn finish(
        self,
        recorder: &Recorder,
        start: Instant,
        end: Instant,
        result: &Result<Written, WriteError>,
    ) {
        let Some(about) = self.0 else { return };
        let age = about.oldest.map_or(0, |oldest| {
            saturating(start.saturating_duration_since(oldest).as_nanos())
        });
        let attributes = vec![
            KeyValue::new(META_QUEUE_AGE_NS, age),
            KeyValue::new(META_UPDATES, saturating(about.updates as u128)),
        ];
        // The kind says what helps and holds no path; the detail stays on this machine.
        let failure = result.as_ref().err().map(|error| error.kind.to_string());
        record(
            recorder,
            META_PERSIST,
            &about.links,
            start,
            end,
            attributes,
            failure,
        );
    }
}

/// A barrier that is over.
pub(crate) fn flush(
    recorder: &Recorder,
    link: Option<Link>,
    start: Instant,
    end: Instant,
    result: &Result<Flushed, FlushError>,
) {
    let Some(link) = link.filter(|_| recorder.is_on()) else {
        return;
    };
    let attributes = match result {
        Ok(flushed) => vec![KeyValue::new(
            META_GENERATION,
            saturating(flushed.generation.0.into()),
        )],
        Err(_) => Vec::new(),
    };
    let failure = result.as_ref().err().map(|error| match error {
        FlushError::Failed { cause, .. } => cause.kind.to_string(),
        other => other.to_string(),
    });
    record(recorder, META_FLUSH, &[link], start, end, attributes, failure);
}

fn record(
    recorder: &Recorder,
    stage: StageId,
    links: &[Link],
    start: Instant,
    end: Instant,
    attributes: Vec<KeyValue>,
    failure: Option<String>,
) {
    // The writer keeps the operating system's clock, which is that of the anchor where time is not virtual.
    let anchor = Anchor {
        instant: Instant::now(),
        ..Anchor::now()
    };
    let link = |link: &Link| TraceContext {
        trace_id: link.trace_id,
        span_id: link.span_id,
        // Links are to sampled spans only.
        flags: TraceFlags::SAMPLED,
        tracestate: Tracestate::default(),
        baggage: Baggage::default(),
    };
    recorder.finish_background(BackgroundRecord {
        stage,
        context: TraceContext::new_root(true),
        links: links.iter().map(link).collect(),
        start_unix_ns: anchor.unix_ns_of(start),
        end_unix_ns: anchor.unix_ns_of(end),
        attributes,
        failure,
    });
}

fn saturating(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use baton_proto::ProcessId;
    use baton_trace::record::CallRecord;
    use baton_trace::recorder::Sink;

    use super::*;
    use crate::generation::Generation;
    use crate::queue::{Bounds, Queue};
    use crate::record::{Owner, ProcessKey, ProcessPatch};
    use crate::store::WriteErrorKind;

    #[derive(Default)]
    struct Kept(Mutex<Vec<BackgroundRecord>>);

    impl Sink for Kept {
        fn record(&self, _: CallRecord) {
            panic!("nothing here is part of a call");
        }

        fn background(&self, record: BackgroundRecord) {
            self.0.lock().unwrap().push(record);
        }
    }

    fn recorder() -> (Arc<Kept>, Recorder) {
        let kept = Arc::new(Kept::default());
        (kept.clone(), Recorder::to(kept))
    }

    fn flight(links: usize, others: usize, since: Instant) -> Flight {
        let mut queue = Queue::new(Bounds {
            process_bytes: 1 << 20,
            thread_bytes: 1 << 20,
        });
        for number in 0..links + others {
            let key = ProcessKey {
                owner: Owner([1; 32]),
                process_id: ProcessId([number as u8; 16]),
            };
            let link = (number < links).then(|| Link::to(&TraceContext::new_root(true)).unwrap());
            let patch = ProcessPatch::new(key);
            queue.add(patch.into(), Generation::FIRST, since, link, &mut Vec::new());
        }
        queue.take(1000, usize::MAX).unwrap()
    }

    fn number(record: &BackgroundRecord, key: &str) -> i64 {
        let found = record.attributes.iter().find(|kv| kv.key.as_str() == key);
        match found.map(|kv| &kv.value) {
            Some(baton_trace::Value::I64(number)) => *number,
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn a_batch_for_sampled_calls_has_a_span_in_a_trace_of_its_own() {
        let (kept, recorder) = recorder();
        let since = Instant::now();
        let (start, end) = (since + Duration::from_millis(5), since + Duration::from_millis(9));
        let flight = flight(SPAN_LINKS_MAX + 3, 2, since);
        Persist::begin(&recorder, &flight).finish(&recorder, start, end, &Ok(Written { rows: 1 }));
        let record = kept.0.lock().unwrap().pop().unwrap();
        assert_eq!(record.stage, META_PERSIST);
        assert_eq!(record.links.len(), SPAN_LINKS_MAX);
        assert!(
            record
                .links
                .iter()
                .all(|link| link.trace_id != record.context.trace_id)
        );
        assert_eq!(number(&record, META_QUEUE_AGE_NS), 5_000_000);
        assert_eq!(number(&record, META_UPDATES), flight.len() as i64);
        assert_eq!(record.end_unix_ns - record.start_unix_ns, 4_000_000);
        assert_eq!(record.failure, None);
    }

    #[test]
    fn nothing_is_exported_of_what_nobody_samples_and_no_path_of_what_fails() {
        let (kept, recorder) = recorder();
        let now = Instant::now();
        Persist::begin(&recorder, &flight(0, 3, now)).finish(&recorder, now, now, &Ok(Written::default()));
        flush(&recorder, None, now, now, &Err(FlushError::Stopped));
        assert!(kept.0.lock().unwrap().is_empty());
        let error = WriteError::new(WriteErrorKind::Full, "/home/somebody/baton.db: no space");
        let failed = FlushError::Failed {
            cause: error.clone(),
            dropped: 0,
        };
        let one = flight(1, 0, now);
        Persist::begin(&recorder, &one).finish(&recorder, now, now, &Err(error));
        flush(&recorder, one.links().next(), now, now, &Err(failed));
        let records = kept.0.lock().unwrap();
        assert_eq!(records.len(), 2);
        for record in records.iter() {
            let failure = record.failure.as_ref().unwrap();
            assert!(
                failure.starts_with("no space left") && !failure.contains("home"),
                "{failure}"
            );
        }
    }
}
