//! The exporter: finished records to a collector, as OTLP over gRPC.
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
//! The SDK's batch processor takes spans one by one, drops in silence beyond its queue, and leaves a flush to a
//! dead collector to its own time. This one takes whole records, a push each, and does the rest on its
//! own thread (`worker`), where plain stages are encoded straight into the request (`encoding`). With
//! `opentelemetry-otlp` the exporters of one execution took 33 µs of CPU time; this way they take 9
//! (`examples/export_cost.rs`).
//!
//! A dead collector costs nothing but time, and of that what the caller gives: a long-lived part tries until its queue is full, an exit waits for
//! [`Exporter::shutdown`]'s limit at most, or by [`exit`](super::exit()) leaves what remains to a later run.

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

/// Exports the records of one part. Only sampled records are taken.
pub struct Exporter {
    state: Arc<ExporterState>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
    /// The same, for those who can await it.
    ending: watch::Receiver<()>,
    endpoint: Uri,
}

/// What an exporter may be given beside its settings.
#[derive(Default)]
pub struct ExporterOptions {
    /// What earlier runs have left is sent, beside what this one does.
    pub spool: Option<Spool>,
    /// Told once, by the exporter's thread, when spans begin to be lost.
    pub on_drop: Option<SpanLossCallback>,
}

/// What became of the spans, as far as it is known.
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
    /// As the environment says (see [`settings`](super::settings)); `None` when nothing is to be exported.
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

    /// The same, with options.
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
                // Cloning a child blocks signals in the thread that does it, and a SIGCHLD then picks any other: this one
                // would wake for every child of an exec-server, to no end.
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

    /// Sends what waits, at once, and stops. Blocks for at most `timeout`; whatever is not with the collector by then
    /// is given up, and the thread with it. Later records are dropped. Calling it again reports again. [`exit`](super::exit()) keeps what
    /// is given up here.
    pub fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        let deadline = Instant::now() + timeout.min(EXPORT_SHUTDOWN_MAX);
        self.close(deadline, true);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Ended, or too late: the counters tell the same either way.
        let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let (exported, dropped) = self.state.outbox.counts();
        ShutdownReport { exported, dropped }
    }

    /// Takes no more records.
    pub(super) fn refuse(&self) {
        self.state.outbox.close();
    }

    /// Takes no more records, and has the thread end by `deadline`.
    pub(super) fn close(&self, deadline: Instant, is_patient: bool) {
        self.state.close(ShutdownRequest { deadline, is_patient });
    }

    /// Has the thread end now.
    pub(super) fn give_up(&self) {
        self.state.give_up();
    }

    /// Resolves when the thread has ended.
    pub(super) async fn ended(&self) {
        // Nothing is ever sent: an error says that the thread has dropped the other end.
        let _ = self.ending.clone().changed().await;
    }

    /// What the collector does not have.
    pub(super) fn remaining(&self) -> Vec<EncodedRequest> {
        self.state.outbox.remaining()
    }

    /// The same, for good.
    pub(super) fn take_remaining(&self) -> Vec<EncodedRequest> {
        self.state.outbox.take_remaining()
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        let (_, owed) = self.state.outbox.counts();
        owed == self.state.outbox.dropped()
    }

    /// Spans that the collector has, and spans that nobody will get any more. What is left is neither.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.state.outbox.counts().0, self.state.outbox.dropped())
    }

    /// What became of the spool.
    pub(super) fn drained(&self) -> MutexGuard<'_, DrainReport> {
        self.state.drained()
    }

    /// Why the collector does not have what is left, if that is known.
    pub(super) fn failure(&self) -> Option<ExportFailure> {
        self.state.failure()
    }

    /// What to say where only time has passed.
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
