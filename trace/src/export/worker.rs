//! The exporter's own thread, and what it shares with the data path.
//!
//! Flow: the data path pushes records under a short lock, and wakes the thread only when a whole batch waits. The
//! thread wakes by itself every delay, takes all records, and there does what costs time: layout, rounding,
//! encoding, sending. gRPC lives on a runtime inside this thread, because on a caller's current-thread runtime it
//! would wait for the very thread that waits for it.
//!
//! Invariants: the data path never waits for the network; what waits is bounded; every span is counted, and
//! counts as dropped until the collector has it; after the shutdown's deadline the thread gives up by itself.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use opentelemetry::Context;
use tokio::sync::{Notify, watch};

use super::layout;
use super::settings::Settings;
use super::wire::Batch;
use crate::record::{CallRecord, StageRecord};

/// Where spans go. The second implementor is the test's, which stalls and fails by command.
pub(super) trait Destination {
    /// Takes all spans out of `batch` and sends them; how many of them the collector has accepted.
    fn send(&mut self, batch: &mut Batch) -> impl Future<Output = usize>;
}

/// What the data path and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    full_batch: Notify,
    queue_stages: usize,
    batch_spans: usize,
    /// The moment to give up, once there is one.
    deadline: watch::Sender<Option<Instant>>,
    /// Spans that the records handed in amount to, and how many of them the collector has. Whatever is between the
    /// two, on whatever way, is not exported.
    owed: AtomicU64,
    exported: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Waiting,
    closed: bool,
}

/// Records that wait, their stages side by side: so whoever finishes a record frees its stages himself, at once. Memory that one
/// thread allocates and another frees costs both of them more.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Without their stages; and how many those are.
    records: Vec<(CallRecord, usize)>,
    stages: Vec<StageRecord>,
    /// Spans that are owed for them. A client exports about half of its record's stages.
    spans: usize,
}

impl Waiting {
    /// What bounds them.
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

impl Shared {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            queue: Mutex::default(),
            full_batch: Notify::new(),
            queue_stages: settings.queue_spans,
            batch_spans: settings.batch_spans,
            deadline: watch::Sender::new(None),
            owed: AtomicU64::new(0),
            exported: AtomicU64::new(0),
        }
    }

    /// Takes one record; beyond the bound, or once closed, only counts it.
    pub(super) fn push(&self, mut record: CallRecord) {
        let spans = layout::owed_len(&record);
        self.owed.fetch_add(spans as u64, Ordering::Relaxed);
        let stages = std::mem::take(&mut record.stages);
        let mut queue = self.queue();
        let Queue { waiting, closed } = &mut *queue;
        if *closed || waiting.cost() + stages.len() >= self.queue_stages {
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

    /// A whole batch, or so much that there may soon be no room.
    fn is_due(&self, waiting: &Waiting) -> bool {
        waiting.spans >= self.batch_spans || waiting.cost() >= self.queue_stages / 2
    }

    /// Takes no more records and asks the thread to finish by `deadline`.
    pub(super) fn close(&self, deadline: Instant) {
        self.queue().closed = true;
        self.deadline.send_modify(|current| {
            current.get_or_insert(deadline);
        });
    }

    /// Spans exported and spans not exported, so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let exported = self.exported.load(Ordering::Relaxed);
        (
            exported,
            self.owed.load(Ordering::Relaxed).saturating_sub(exported),
        )
    }

    /// Takes what waits in exchange for what was taken before, whose memory serves again.
    fn take(&self, taken: &mut Waiting) {
        taken.clear(self.batch_spans);
        std::mem::swap(&mut self.queue().waiting, taken);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once closed and the deadline has passed.
    async fn expired(&self) {
        let mut deadline = self.deadline.subscribe();
        // The sender is ours, so this cannot fail.
        let at = deadline.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        if let Some(at) = at {
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

/// The thread's life: until closed and empty, or closed and late.
pub(super) async fn run(shared: &Shared, settings: &Settings, mut to: impl Destination) {
    // What tonic, h2 and hyper say on this thread must not become telemetry: it would cause more of itself.
    let _untraced = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    let mut closing = shared.deadline.subscribe();
    let mut batch = Batch::default();
    let mut taken = Waiting::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(settings.delay) => {}
            () = shared.full_batch.notified() => {}
            _ = closing.wait_for(Option::is_some) => {}
        }
        let is_last = shared.queue().closed;
        shared.take(&mut taken);
        export(shared, &mut taken, &mut batch, &mut to).await;
        if is_last {
            return;
        }
    }
}

async fn export(shared: &Shared, taken: &mut Waiting, batch: &mut Batch, to: &mut impl Destination) {
    let mut stages = &taken.stages[..];
    let mut own = Vec::new();
    let mut records = taken.records.drain(..).peekable();
    while let Some((mut record, count)) = records.next() {
        let (first, rest) = stages.split_at(count);
        stages = rest;
        own.clear();
        own.extend_from_slice(first);
        record.stages = own;
        batch.push(&record);
        own = record.stages;
        if batch.len() < shared.batch_spans && records.peek().is_some() {
            continue;
        }
        tokio::select! {
            biased;
            exported = to.send(batch) => {
                shared.exported.fetch_add(exported as u64, Ordering::Relaxed);
            }
            () = shared.expired() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_sdk::Resource;

    use super::*;
    use crate::export::wire::Speaker;
    use crate::report::tests::{record, stage};
    use crate::stage::transport::*;

    /// Accepts what it gets, or stalls or refuses some by command.
    #[derive(Default)]
    struct Fake {
        sent: Vec<usize>,
        refuses: usize,
        stalls: bool,
    }

    impl Destination for &mut Fake {
        async fn send(&mut self, batch: &mut Batch) -> usize {
            let spans = batch.len();
            let speaker = || Speaker::new(&Resource::builder_empty().build());
            batch.take(&speaker(), speaker);
            if self.stalls {
                std::future::pending::<()>().await;
            }
            self.sent.push(spans);
            spans - self.refuses
        }
    }

    fn settings(more: &[(&'static str, &'static str)]) -> Settings {
        let read = Settings::from_lookup(|name| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://localhost:4317".to_owned()),
            name => more
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned()),
        });
        read.unwrap().unwrap()
    }

    /// Four spans of the client's own and one of the relay's.
    fn call() -> CallRecord {
        record(vec![
            stage(CALL, 0, 100_000),
            stage(DISPATCH, 0, 10_000),
            stage(TRANSIT, 10_000, 40_000),
            stage(RELAY_QUEUE, 20_000, 25_000),
            stage(RPC, 40_000, 90_000),
            stage(TERMINAL_NOTIFY, 90_000, 100_000),
        ])
    }

    #[tokio::test(start_paused = true)]
    async fn records_leave_after_the_delay_in_batches() {
        let settings = settings(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]);
        let shared = Shared::new(&settings);
        let mut fake = Fake::default();
        for _ in 0..3 {
            shared.push(call());
        }
        shared.close(Instant::now() + Duration::from_secs(60));
        run(&shared, &settings, &mut fake).await;
        assert_eq!(fake.sent, [10, 5]);
        assert_eq!(shared.counts(), (15, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_batch_or_half_of_the_room_leaves_without_delay() {
        let batch = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
        let room = [
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "30"),
        ];
        for (settings, due) in [(settings(&batch), 2), (settings(&room), 3)] {
            let shared = Shared::new(&settings);
            for pushed in 1..=due {
                shared.push(call());
                let woken = tokio::time::timeout(Duration::ZERO, shared.full_batch.notified()).await;
                assert_eq!(woken.is_ok(), pushed == due, "{pushed} of {due}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_spans_are_dropped_and_the_rest_goes_on() {
        let settings = settings(&[]);
        let shared = Shared::new(&settings);
        let mut fake = Fake {
            refuses: 1,
            ..Fake::default()
        };
        shared.push(call());
        shared.close(Instant::now() + Duration::from_secs(60));
        run(&shared, &settings, &mut fake).await;
        assert_eq!(shared.counts(), (4, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_collector_is_given_up_at_the_deadline() {
        let settings = settings(&[]);
        let shared = Shared::new(&settings);
        let mut fake = Fake {
            stalls: true,
            ..Fake::default()
        };
        shared.push(call());
        shared.close(tokio::time::Instant::now().into_std() + Duration::from_secs(2));
        let given_up = tokio::time::timeout(Duration::from_secs(3), run(&shared, &settings, &mut fake)).await;
        assert!(given_up.is_ok());
        assert_eq!(shared.counts(), (0, 5));
    }

    #[test]
    fn the_queue_is_bounded_and_closed_for_good() {
        let settings = settings(&[("OTEL_BSP_MAX_QUEUE_SIZE", "10")]);
        let shared = Shared::new(&settings);
        for _ in 0..5 {
            shared.push(call());
        }
        let mut taken = Waiting::default();
        shared.take(&mut taken);
        assert_eq!(taken.records.len(), 1);
        shared.close(Instant::now());
        shared.push(call());
        shared.take(&mut taken);
        assert_eq!(taken.records.len(), 0);
        assert_eq!(shared.counts(), (0, 30));
    }
}
