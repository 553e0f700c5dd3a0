//! The state that the data path, the exporter's thread and the spool drain share.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use crate::failure::ExportFailure;
use crate::outbox::Outbox;
use crate::spool::{SpoolError, SpoolFinding};

/// The destination of spans. The tests implement one that stalls and fails on demand.
pub(crate) trait Destination {
    /// Connects, unless it is connected.
    fn connect(&self) -> impl Future<Output = Result<(), ExportFailure>>;

    /// Sends one request, once. `None` if the collector accepted all of its spans.
    fn send(
        &self,
        request: Bytes,
        spans: u64,
    ) -> impl Future<Output = Result<Option<RejectedSpans>, ExportFailure>>;
}

/// Spans that a collector rejected, of a request that it accepted.
#[derive(Debug)]
pub(crate) struct RejectedSpans {
    pub(crate) spans: u64,
    pub(crate) why: ExportFailure,
}

/// How long the exporter continues after it is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShutdownRequest {
    pub(crate) deadline: Instant,
    /// Whether to retry until the deadline, even if nothing listens on the endpoint.
    pub(crate) is_patient: bool,
}

/// The result of draining the spool of earlier runs.
#[derive(Debug, Default)]
pub(crate) struct DrainReport {
    /// Spans of earlier runs that were delivered.
    pub(crate) delivered: u64,
    /// Spans of earlier runs that are lost.
    pub(crate) dropped: u64,
    /// Files that were not sent unchanged, the first [`SPOOL_FINDINGS_MAX`] of them.
    pub(crate) findings: Vec<SpoolFinding>,
    /// How many there were.
    pub(crate) found: usize,
    pub(crate) error: Option<SpoolError>,
}

/// Called once when a long-running process begins to lose spans: with their number so far, and the reason, if it is
/// known.
pub type SpanLossCallback = Box<dyn FnOnce(u64, Option<ExportFailure>) + Send>;

/// The shared state of an exporter.
pub(crate) struct ExporterState {
    pub(crate) outbox: Outbox,
    closing: watch::Sender<Option<ShutdownRequest>>,
    /// A connection was established at least once.
    connected: watch::Sender<bool>,
    /// The latest failure, until a delivery succeeds.
    failure: Mutex<Option<ExportFailure>>,
    drained: Mutex<DrainReport>,
    /// Taken at the first loss.
    on_drop: Mutex<Option<SpanLossCallback>>,
    may_drop: AtomicBool,
}

impl ExporterState {
    pub(crate) fn new(outbox: Outbox, on_drop: Option<SpanLossCallback>) -> Self {
        Self {
            outbox,
            closing: watch::Sender::new(None),
            connected: watch::Sender::new(false),
            failure: Mutex::default(),
            drained: Mutex::default(),
            may_drop: AtomicBool::new(on_drop.is_some()),
            on_drop: Mutex::new(on_drop),
        }
    }

    /// Accepts no more records and requests the thread to finish. Later calls have no effect.
    pub(crate) fn close(&self, closing: ShutdownRequest) {
        self.outbox.close();
        self.closing.send_modify(|current| {
            current.get_or_insert(closing);
        });
    }

    /// Makes the thread stop now.
    pub(crate) fn give_up(&self) {
        self.outbox.close();
        let closing = ShutdownRequest {
            deadline: Instant::now(),
            is_patient: false,
        };
        self.closing.send_replace(Some(closing));
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Why the remaining spans were not delivered, if it is known.
    pub(crate) fn failure(&self) -> Option<ExportFailure> {
        lock(&self.failure).clone()
    }

    /// The result of draining the spool.
    pub(crate) fn drained(&self) -> MutexGuard<'_, DrainReport> {
        lock(&self.drained)
    }

    pub(crate) fn closing(&self) -> Option<ShutdownRequest> {
        *self.closing.borrow()
    }

    /// Resolves once closed.
    pub(crate) async fn closed(&self) {
        // `self` owns the sender, so this cannot fail.
        let _ = self.closing.subscribe().wait_for(Option::is_some).await;
    }

    /// Resolves after the first connection.
    pub(crate) async fn first_connected(&self) {
        let _ = self.connected.subscribe().wait_for(|connected| *connected).await;
    }

    /// Resolves once closed and the deadline has passed. The deadline may be moved meanwhile.
    pub(crate) async fn expired(&self) {
        let mut closing = self.closing.subscribe();
        loop {
            let deadline = (*closing.borrow_and_update()).map(|closing| closing.deadline);
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                _ = closing.changed() => {}
            }
        }
    }

    pub(crate) fn note(&self, result: Result<(), ExportFailure>) {
        if result.is_ok() {
            self.note_connected();
        }
        *lock(&self.failure) = result.err();
    }

    /// The collector accepted a request, but not all of its spans.
    pub(crate) fn note_rejected(&self, why: ExportFailure) {
        *lock(&self.failure) = Some(why);
    }

    pub(crate) fn note_connected(&self) {
        self.connected
            .send_if_modified(|connected| !std::mem::replace(connected, true));
    }

    /// Calls the span loss callback at the first loss.
    pub(crate) fn tell_drops(&self) {
        let dropped = self.outbox.dropped();
        if dropped > 0 && self.may_drop.swap(false, Ordering::Relaxed) {
            let on_drop = lock(&self.on_drop).take();
            if let Some(on_drop) = on_drop {
                on_drop(dropped, self.failure());
            }
        }
    }
}

/// Ignores poisoning: no code panics while the data is inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
