//! What the data path, the exporter's thread and the drain of the spool share.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use crate::failure::ExportFailure;
use crate::outbox::Outbox;
use crate::spool::{SpoolError, SpoolFinding};

/// Where spans go. The second implementor is the test's, which stalls and fails by command.
pub(crate) trait Destination {
    /// Connects, unless it is connected.
    fn connect(&self) -> impl Future<Output = Result<(), ExportFailure>>;

    /// One attempt at one request. `None` if the collector has taken all of its spans.
    fn send(
        &self,
        request: Bytes,
        spans: u64,
    ) -> impl Future<Output = Result<Option<RejectedSpans>, ExportFailure>>;
}

/// Spans that a collector did not want, of a request that it took.
#[derive(Debug)]
pub(crate) struct RejectedSpans {
    pub(crate) spans: u64,
    pub(crate) why: ExportFailure,
}

/// How long to go on once closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShutdownRequest {
    pub(crate) deadline: Instant,
    /// Whether to try for all that time, even if nobody listens.
    pub(crate) is_patient: bool,
}

/// What became of the spool that earlier runs have left.
#[derive(Debug, Default)]
pub(crate) struct DrainReport {
    /// Spans of earlier runs that the collector has now.
    pub(crate) delivered: u64,
    /// Spans of earlier runs that nobody will get any more.
    pub(crate) dropped: u64,
    /// Files that were not sent as they were, the first [`SPOOL_FINDINGS_MAX`] of them.
    pub(crate) findings: Vec<SpoolFinding>,
    /// How many there were.
    pub(crate) found: usize,
    pub(crate) error: Option<SpoolError>,
}

/// Tells the owner of a long-lived part that spans are lost, once: how many so far, and why if that is known.
pub type SpanLossCallback = Box<dyn FnOnce(u64, Option<ExportFailure>) + Send>;

/// What the data path, the thread and the drain share.
pub(crate) struct ExporterState {
    pub(crate) outbox: Outbox,
    closing: watch::Sender<Option<ShutdownRequest>>,
    /// There is, or was, a connection.
    connected: watch::Sender<bool>,
    /// The latest, until something is delivered.
    failure: Mutex<Option<ExportFailure>>,
    drained: Mutex<DrainReport>,
    /// Nobody waits for this part's exit before there is something to drop.
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

    /// Takes no more records and asks the thread to finish. Only the first time counts.
    pub(crate) fn close(&self, closing: ShutdownRequest) {
        self.outbox.close();
        self.closing.send_modify(|current| {
            current.get_or_insert(closing);
        });
    }

    /// Has the thread give up now.
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

    /// Why the collector does not have what is left, if that is known.
    pub(crate) fn failure(&self) -> Option<ExportFailure> {
        lock(&self.failure).clone()
    }

    /// What became of what earlier runs have left.
    pub(crate) fn drained(&self) -> MutexGuard<'_, DrainReport> {
        lock(&self.drained)
    }

    pub(crate) fn closing(&self) -> Option<ShutdownRequest> {
        *self.closing.borrow()
    }

    /// Resolves once closed.
    pub(crate) async fn closed(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.closing.subscribe().wait_for(Option::is_some).await;
    }

    /// Resolves once there was a connection.
    pub(crate) async fn first_connected(&self) {
        let _ = self.connected.subscribe().wait_for(|connected| *connected).await;
    }

    /// Resolves once closed and the deadline has passed, also if that is moved.
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

    /// The collector took a request, but not all of its spans.
    pub(crate) fn note_rejected(&self, why: ExportFailure) {
        *lock(&self.failure) = Some(why);
    }

    pub(crate) fn note_connected(&self) {
        self.connected
            .send_if_modified(|connected| !std::mem::replace(connected, true));
    }

    /// Tells the owner if this is the first time that spans are lost.
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

/// The same data whatever panicked meanwhile.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
