//! The exporter: sends finished records to a collector, as OTLP over gRPC.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use baton_export::Exporter;
//! use baton_trace::{record::Side, recorder::Recorder};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! if let Some(exporter) = Exporter::from_env(Side::Client)? {
//!     let exporter = Arc::new(exporter);
//!     let recorder = Recorder::to(exporter.clone());
//!     // … calls …
//!     let report = exporter.shutdown(Duration::from_millis(500));
//!     eprintln!("{report}");
//! }
//! # Ok(()) }
//! ```
//!
//! The SDK's batch processor takes spans one by one, drops silently beyond its queue, and does not bound a flush to a
//! dead collector. This exporter takes whole records, one push each, and does the rest on its own thread (`worker`),
//! which encodes plain stages directly into the request (`encoding`). With `opentelemetry-otlp` the exporters of one
//! execution took 33 µs of CPU time; with this exporter they take 9 (`examples/export_cost.rs`).
//!
//! A dead collector costs at most the time that the caller permits: a long-running process retries while its queue has
//! room, and an exit waits at most for the limit of [`Exporter::shutdown`], or leaves the rest to a later run with
//! [`exit`](super::exit()).

use std::fmt;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use baton_trace::background;
use baton_trace::record::{CallRecord, Side};
use baton_trace::recorder::RecordSink;
use baton_trace::stage;
use http::Uri;
use tokio::sync::watch;

use super::collector::Collector;
use super::drain::SpoolDrain;
use super::failure::{ExportFailure, FailureKind};
use super::outbox::{EncodedRequest, Outbox};
use super::resource;
use super::settings::{ExportError, ExporterSettings};
use super::spool::Spool;
use super::state::{DrainReport, ExporterState, ShutdownRequest, SpanLossCallback};
use super::worker;
use crate::limits::{EXPORT_ABANDONED_GRACE, EXPORT_SHUTDOWN_MAX};
use nix::sys::signal::SigSet;

/// Exports the records of one component. Ignores unsampled records.
pub struct Exporter {
    state: Arc<ExporterState>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
    /// Closed when the thread has ended, for async code.
    ending: watch::Receiver<()>,
    endpoint: Uri,
}

/// Options of an exporter in addition to its settings.
#[derive(Default)]
pub struct ExporterOptions {
    /// The spool whose spans of earlier runs are sent.
    pub spool: Option<Spool>,
    /// Called once, on the exporter's thread, when spans begin to be lost.
    pub on_drop: Option<SpanLossCallback>,
}

/// The number of exported and dropped spans, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Spans that the collector has accepted.
    pub exported: u64,
    /// Spans that it has not: refused, failed, late, or beyond the queue.
    pub dropped: u64,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spans exported, {} dropped", self.exported, self.dropped)
    }
}

impl Exporter {
    /// Configured by the environment (see [`settings`](super::settings)); `None` if nothing is to be exported.
    ///
    /// # Errors
    /// [`ExportError`], with a sentence that names the variable. Nothing has been started then.
    pub fn from_env(side: Side) -> Result<Option<Self>, ExportError> {
        ExporterSettings::from_env()?
            .map(|settings| Self::new(side, settings))
            .transpose()
    }

    /// Starts an exporter: one thread, which dials the collector at once. Callable inside and outside of a runtime.
    ///
    /// # Errors
    /// [`ExportError`] when the thread cannot be started.
    pub fn new(side: Side, settings: ExporterSettings) -> Result<Self, ExportError> {
        Self::with_options(side, settings, ExporterOptions::default())
    }

    /// Like [`new`](Self::new), with options.
    ///
    /// # Errors
    /// [`ExportError`] when the thread cannot be started.
    pub fn with_options(
        side: Side,
        settings: ExporterSettings,
        options: ExporterOptions,
    ) -> Result<Self, ExportError> {
        let part = match side {
            Side::Client => stage::Component::Client,
            Side::Server => stage::Component::Server,
        };
        let own = resource::own(part, settings.service_name.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ExportError::Thread)?;
        let state = Arc::new(ExporterState::new(Outbox::new(&settings, own), options.on_drop));
        let drain = options.spool.map(SpoolDrain::new);
        let (guard, ended) = channel::<()>();
        let (ends, ending) = watch::channel(());
        let for_thread = Arc::clone(&state);
        let endpoint = settings.endpoint.clone();
        thread::Builder::new()
            .name("baton-otlp".to_owned())
            .spawn(move || {
                // Cloning a child blocks signals in the calling thread, so the kernel delivers SIGCHLD to another
                // thread. Without blocking signals here, this thread would wake for every child of an exec-server
                // without need.
                let _ = SigSet::all().thread_block();
                let _ended_when_dropped = (guard, ends);
                background::lower_priority();
                let collector = Collector::new(&settings);
                runtime.block_on(worker::run(&for_thread, &settings, collector, drain));
                runtime.shutdown_background();
            })
            .map_err(ExportError::Thread)?;
        Ok(Self {
            state,
            ended: Mutex::new(ended),
            ending,
            endpoint,
        })
    }

    /// Sends the queued spans at once, and stops. Blocks for at most `timeout`; spans that are not delivered by then
    /// are dropped, and the thread stops. Later records are dropped. Another call reports again.
    /// [`exit`](super::exit()) stores undelivered spans in place of dropping them.
    pub fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        let deadline = Instant::now() + timeout.min(EXPORT_SHUTDOWN_MAX);
        self.close(deadline, true);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // The counters are valid whether the thread has ended or the timeout has passed.
        let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let (exported, dropped) = self.state.outbox.counts();
        ShutdownReport { exported, dropped }
    }

    /// Accepts no more records.
    pub(super) fn refuse(&self) {
        self.state.outbox.close();
    }

    /// Accepts no more records, and makes the thread end by `deadline`.
    pub(super) fn close(&self, deadline: Instant, is_patient: bool) {
        self.state.close(ShutdownRequest { deadline, is_patient });
    }

    /// Makes the thread end now.
    pub(super) fn give_up(&self) {
        self.state.give_up();
    }

    /// Resolves when the thread has ended.
    pub(super) async fn ended(&self) {
        // Nothing is ever sent: an error means that the thread has dropped the sender.
        let _ = self.ending.clone().changed().await;
    }

    /// The undelivered requests.
    pub(super) fn remaining(&self) -> Vec<EncodedRequest> {
        self.state.outbox.remaining()
    }

    /// Removes and returns the undelivered requests.
    pub(super) fn take_remaining(&self) -> Vec<EncodedRequest> {
        self.state.outbox.take_remaining()
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        let (_, owed) = self.state.outbox.counts();
        owed == self.state.outbox.dropped()
    }

    /// Delivered spans, and lost spans. Remaining spans are neither.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.state.outbox.counts().0, self.state.outbox.dropped())
    }

    /// The result of draining the spool.
    pub(super) fn drained(&self) -> MutexGuard<'_, DrainReport> {
        self.state.drained()
    }

    /// Why the remaining spans were not delivered, if it is known.
    pub(super) fn failure(&self) -> Option<ExportFailure> {
        self.state.failure()
    }

    /// The failure to report if the wait expired without another failure.
    pub(super) fn patience(&self) -> ExportFailure {
        let kind = if self.state.is_connected() {
            FailureKind::Late
        } else {
            FailureKind::Connecting
        };
        ExportFailure::new(&self.endpoint, kind)
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl RecordSink for Exporter {
    fn record(&self, record: CallRecord) {
        if record.context.is_sampled() {
            self.state.outbox.push(record);
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.close(Instant::now() + EXPORT_ABANDONED_GRACE, true);
    }
}
