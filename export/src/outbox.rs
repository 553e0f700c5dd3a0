//! The spans that an exporter has not delivered yet, from the record to the collector's response.
//!
//! ```text
//! push ──► waiting records ──► encoded requests ──► the collector
//!                                             └───► the spool, when the process ends first
//! ```
//!
//! Records are taken and encoded under one lock, so that a reader always gets all undelivered spans: an exit persists
//! the request that its exporter's thread was about to send.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_trace::record::{CallRecord, StageRecord};
use baton_trace::stage::Component;
use bytes::Bytes;
use opentelemetry_sdk::Resource;
use tokio::sync::Notify;

use super::encoding::{Batch, EncodedResource};
use super::layout;
use super::resource;
use super::settings::ExporterSettings;

/// An encoded `ExportTraceServiceRequest`. Clones share its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EncodedRequest {
    pub(super) bytes: Bytes,
    pub(super) spans: u64,
}

/// See the [module](self).
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    encoder: Mutex<Encoder>,
    pub(super) full_batch: Notify,
    queue_stages: usize,
    batch_spans: usize,
    /// The number of spans of all pushed records, and of those that were delivered. The difference is not exported.
    owed: AtomicU64,
    exported: AtomicU64,
    /// Spans that are lost.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: QueuedRecords,
    closed: bool,
}

/// Queued records, with their stages in one buffer. So the thread that finishes a record frees the memory of its
/// stages: memory that one thread allocates and another frees is more expensive for both.
#[derive(Debug, Default)]
struct QueuedRecords {
    /// Records without their stages, and the number of their stages.
    records: Vec<(CallRecord, usize)>,
    stages: Vec<StageRecord>,
    /// Spans to export for them. A client exports about half of its record's stages.
    spans: usize,
}

/// Encodes records as requests.
struct Encoder {
    taken: QueuedRecords,
    /// The number of taken records that are encoded, and of their stages.
    encoded: (usize, usize),
    batch: Batch,
    pending: VecDeque<EncodedRequest>,
    resource: Resource,
    own: EncodedResource,
    /// The remaining requests were taken by an exit.
    is_taken: bool,
}

impl QueuedRecords {
    /// The bounded quantity.
    fn cost(&self) -> usize {
        self.stages.len() + self.records.len()
    }

    fn clear(&mut self, keep: usize) {
        self.records.clear();
        self.records.shrink_to(keep);
        self.stages.clear();
        self.stages.shrink_to(4 * keep);
        self.spans = 0;
    }
}

impl Outbox {
    pub(super) fn new(settings: &ExporterSettings, resource: Resource) -> Self {
        Self {
            queue: Mutex::default(),
            encoder: Mutex::new(Encoder {
                taken: QueuedRecords::default(),
                encoded: (0, 0),
                batch: Batch::default(),
                pending: VecDeque::new(),
                own: EncodedResource::new(&resource),
                resource,
                is_taken: false,
            }),
            full_batch: Notify::new(),
            queue_stages: settings.queue_spans,
            batch_spans: settings.batch_spans,
            owed: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Queues one record. Beyond the bound, or once closed, its spans are only counted.
    pub(super) fn push(&self, mut record: CallRecord) {
        let spans = layout::owed_len(&record);
        self.owed.fetch_add(spans as u64, Ordering::Relaxed);
        let stages = std::mem::take(&mut record.stages);
        let mut queue = lock(&self.queue);
        let Queue { waiting, closed } = &mut *queue;
        if *closed || waiting.cost() + stages.len() >= self.queue_stages {
            drop(queue);
            self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
            return;
        }
        let was_due = self.is_due(waiting);
        waiting.stages.extend_from_slice(&stages);
        waiting.records.push((record, stages.len()));
        waiting.spans += spans;
        let is_due = self.is_due(waiting);
        drop(queue);
        if is_due && !was_due {
            self.full_batch.notify_one();
        }
    }

    /// Whether a batch is full, or the queue is half full.
    fn is_due(&self, waiting: &QueuedRecords) -> bool {
        waiting.spans >= self.batch_spans || waiting.cost() >= self.queue_stages / 2
    }

    /// Accepts no more records.
    pub(super) fn close(&self) {
        lock(&self.queue).closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.queue).closed
    }

    /// The oldest undelivered request. If there is none, queued records are encoded. `None` if nothing remains.
    pub(super) fn next(&self) -> Option<EncodedRequest> {
        let mut encoder = lock(&self.encoder);
        if encoder.pending.is_empty() && !encoder.is_taken {
            encoder.encode(&self.queue, self.batch_spans);
        }
        encoder.pending.front().cloned()
    }

    /// The collector has responded to [`next`](Self::next) and accepted all but `rejected` spans.
    pub(super) fn answered(&self, rejected: u64) {
        let mut encoder = lock(&self.encoder);
        // Empty if an exit has taken the remaining requests.
        if let Some(request) = encoder.pending.pop_front() {
            let exported = request.spans.saturating_sub(rejected);
            self.exported.fetch_add(exported, Ordering::Relaxed);
            self.dropped
                .fetch_add(request.spans - exported, Ordering::Relaxed);
        }
    }

    /// All undelivered requests, oldest first. Complete once closed.
    pub(super) fn remaining(&self) -> Vec<EncodedRequest> {
        let mut encoder = lock(&self.encoder);
        while encoder.encode(&self.queue, self.batch_spans) {}
        encoder.pending.iter().cloned().collect()
    }

    /// Removes and returns all undelivered requests. A later response has no effect.
    pub(super) fn take_remaining(&self) -> Vec<EncodedRequest> {
        let mut encoder = lock(&self.encoder);
        while encoder.encode(&self.queue, self.batch_spans) {}
        encoder.is_taken = true;
        encoder.pending.drain(..).collect()
    }

    /// Spans exported and spans not exported, so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let exported = self.exported.load(Ordering::Relaxed);
        (
            exported,
            self.owed.load(Ordering::Relaxed).saturating_sub(exported),
        )
    }

    /// Spans lost so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Encoder {
    /// Encodes one batch; `false` if there were no records.
    fn encode(&mut self, queue: &Mutex<Queue>, batch_spans: usize) -> bool {
        if self.encoded.0 == self.taken.records.len() {
            // Swaps the buffers, so that their memory is reused.
            self.taken.clear(batch_spans);
            self.encoded = (0, 0);
            std::mem::swap(&mut lock(queue).waiting, &mut self.taken);
        }
        let (mut record_at, mut stage_at) = self.encoded;
        let mut own = Vec::new();
        while let Some((record, count)) = self.taken.records.get_mut(record_at) {
            own.clear();
            own.extend_from_slice(&self.taken.stages[stage_at..stage_at + *count]);
            record.stages = own;
            self.batch.push(record);
            own = std::mem::take(&mut record.stages);
            record_at += 1;
            stage_at += *count;
            if self.batch.len() >= batch_spans {
                break;
            }
        }
        self.encoded = (record_at, stage_at);
        let spans = self.batch.len() as u64;
        if spans == 0 {
            return false;
        }
        let resource = &self.resource;
        let relay = || EncodedResource::new(&resource::reported(Component::Relay, resource));
        let bytes = self.batch.take(&self.own, relay);
        self.pending.push_back(EncodedRequest { bytes, spans });
        true
    }
}

/// Ignores poisoning: no code panics while the data is inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use baton_trace::stage::transport::*;
    use baton_trace::test_records::{record, stage};

    use super::*;

    pub(crate) fn settings(more: &[(&'static str, &'static str)]) -> ExporterSettings {
        let read = ExporterSettings::from_lookup(|name| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://localhost:4317".to_owned()),
            name => more
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned()),
        });
        read.unwrap().unwrap()
    }

    /// Four spans of the client's own and one of the relay's.
    pub(crate) fn call() -> CallRecord {
        record(vec![
            stage(CALL, 0, 100_000),
            stage(DISPATCH, 0, 10_000),
            stage(TRANSIT, 10_000, 40_000),
            stage(RELAY_QUEUE, 20_000, 25_000),
            stage(RPC, 40_000, 90_000),
            stage(TERMINAL_NOTIFY, 90_000, 100_000),
        ])
    }

    pub(crate) fn outbox(settings: &ExporterSettings) -> Outbox {
        Outbox::new(settings, Resource::builder_empty().build())
    }

    fn spans(left: &[EncodedRequest]) -> Vec<u64> {
        left.iter().map(|request| request.spans).collect()
    }

    #[test]
    fn requests_are_batches_in_order_and_the_next_stays_until_it_is_answered() {
        let outbox = outbox(&settings(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]));
        for _ in 0..3 {
            outbox.push(call());
        }
        let first = outbox.next().unwrap();
        assert_eq!((first.spans, outbox.next()), (10, Some(first)));
        outbox.answered(0);
        assert_eq!(outbox.next().unwrap().spans, 5);
        outbox.answered(2);
        assert_eq!(outbox.next(), None);
        assert_eq!((outbox.counts(), outbox.dropped()), ((13, 2), 2));
    }

    #[test]
    fn what_is_left_is_whole_wherever_the_records_are() {
        let outbox = outbox(&settings(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]));
        for _ in 0..3 {
            outbox.push(call());
        }
        // One request is under way, one record is taken, another one waits.
        outbox.next().unwrap();
        outbox.push(call());
        outbox.close();
        outbox.push(call());
        assert_eq!(spans(&outbox.remaining()), [10, 5, 5]);
        outbox.answered(0);
        assert_eq!(spans(&outbox.take_remaining()), [5, 5]);
        // Too late: the spans are in the spool.
        outbox.answered(0);
        assert_eq!((outbox.next(), outbox.remaining().len()), (None, 0));
        assert_eq!((outbox.counts(), outbox.dropped()), ((10, 15), 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_batch_or_half_of_the_room_leaves_without_delay() {
        let batch = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
        let room = [
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "30"),
        ];
        for (settings, due) in [(settings(&batch), 2), (settings(&room), 3)] {
            let outbox = outbox(&settings);
            for pushed in 1..=due {
                outbox.push(call());
                let woken =
                    tokio::time::timeout(std::time::Duration::ZERO, outbox.full_batch.notified()).await;
                assert_eq!(woken.is_ok(), pushed == due, "{pushed} of {due}");
            }
        }
    }

    #[test]
    fn the_queue_is_bounded_and_closed_for_good() {
        let outbox = outbox(&settings(&[("OTEL_BSP_MAX_QUEUE_SIZE", "10")]));
        for _ in 0..5 {
            outbox.push(call());
        }
        assert_eq!(outbox.dropped(), 20);
        outbox.close();
        outbox.push(call());
        assert_eq!(spans(&outbox.remaining()), [5]);
        assert_eq!((outbox.counts(), outbox.dropped()), ((0, 30), 25));
    }
}
