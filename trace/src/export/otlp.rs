//! The exporter: finished records to a collector, as OTLP over gRPC.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use baton_trace::{export::Exporter, record::Side, recorder::Recorder};
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
//! own thread (`worker`), where plain stages are encoded straight into the request (`wire`). With
//! `opentelemetry-otlp` the exporters of one execution took 33 µs of CPU time; this way they take 9
//! (`examples/export_cost.rs`).
//!
//! A dead collector costs the spans and nothing else: an exit waits for [`Exporter::shutdown`]'s limit at most, and
//! keeps its exit code.

use std::fmt;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::collector::Collector;
use super::resource;
use super::settings::{ExportError, Settings};
use super::worker::{self, Shared};
use crate::background;
use crate::limits::{EXPORT_ABANDONED_GRACE, EXPORT_SHUTDOWN_MAX};
use crate::record::{CallRecord, Side};
use crate::recorder::Sink;
use crate::stage;
use nix::sys::signal::SigSet;

/// Exports the records of one part. Only sampled records are taken.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
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
        Settings::from_env()?
            .map(|settings| Self::new(side, settings))
            .transpose()
    }

    /// Starts an exporter: one thread, which connects when it first has something to send. Callable inside and
    /// outside of a runtime.
    ///
    /// # Errors
    /// [`ExportError`] when a setting is refused or the thread cannot be started.
    pub fn new(side: Side, settings: Settings) -> Result<Self, ExportError> {
        let part = match side {
            Side::Client => stage::Exporter::Client,
            Side::Server => stage::Exporter::Server,
        };
        let own = resource::own(part, settings.service_name.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ExportError::Thread)?;
        let collector = {
            let _inside = runtime.enter();
            Collector::new(&settings, own)
        };
        let shared = Arc::new(Shared::new(&settings));
        let (guard, ended) = channel::<()>();
        let for_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("baton-otlp".to_owned())
            .spawn(move || {
                // Cloning a child blocks signals in the thread that does it, and a SIGCHLD then picks any other: this one
                // would wake for every child of an exec-server, to no end.
                let _ = SigSet::all().thread_block();
                let _ended_when_dropped = guard;
                background::give_way();
                runtime.block_on(worker::run(&for_thread, &settings, collector));
                runtime.shutdown_background();
            })
            .map_err(ExportError::Thread)?;
        Ok(Self {
            shared,
            ended: Mutex::new(ended),
        })
    }

    /// Sends what waits, at once, and stops. Blocks for at most `timeout`; whatever is not with the collector by then
    /// is given up, and the thread with it. Later records are dropped. Calling it again reports again.
    pub fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        let deadline = Instant::now() + timeout.min(EXPORT_SHUTDOWN_MAX);
        self.shared.close(deadline);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Ended, or too late: the counters tell the same either way.
        let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let (exported, dropped) = self.shared.counts();
        ShutdownReport { exported, dropped }
    }
}

impl Sink for Exporter {
    fn record(&self, record: CallRecord) {
        if record.context.is_sampled() {
            self.shared.push(record);
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.shared.close(Instant::now() + EXPORT_ABANDONED_GRACE);
    }
}
