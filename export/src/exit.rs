//! Ends a process: a short wait for the collector, and the spool for spans that were not delivered by then.
//!
//! ```text
//! closed ── EXIT_SPOOL_AFTER ──► written to the spool, by a thread of its own ──┐
//!    └────── the collector is waited for ───────────────────── at most `wait` ──┴─► delivered: the file is taken away
//!                                                                                   not: it stays for a later run
//! ```
//!
//! The spool file is written concurrently with the wait, so that it exists when the wait ends. Only a stalled disk
//! extends the wait, by at most [`EXIT_SPOOL_GRACE`]. A refused connection ends the wait at once, unless the wait is
//! patient; so does an interruption.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::failure::ExportFailure;
use super::otlp::Exporter;
use super::outbox::EncodedRequest;
use super::spool::{PruneReport, Spool, SpoolError, SpoolFile, SpoolFinding, now_ms};
use crate::limits::{EXIT_SPOOL_AFTER, EXIT_SPOOL_GRACE, EXPORT_SHUTDOWN_MAX, SPOOL_STALE};

/// How a process waits for its spans to be delivered when it exits.
#[derive(Debug, Clone)]
pub struct ExitOptions {
    /// Longest wait for the collector.
    pub wait: Duration,
    /// Retry for the whole wait even if nothing listens on the endpoint, because there may be no later run.
    pub is_patient: bool,
    /// Stores the remaining spans. Without it, they are dropped.
    pub spool: Option<Spool>,
}

/// The result for the spans of all exporters. `exported + spooled + dropped` is the number of all spans.
#[derive(Debug, Default)]
pub struct ExitReport {
    /// Spans that were delivered.
    pub exported: u64,
    /// Spans that are in the spool.
    pub spooled: u64,
    /// Spans that are lost.
    pub dropped: u64,
    /// Why not all were delivered.
    pub failure: Option<ExportFailure>,
    /// Why the rest was not stored in the spool.
    pub spool_error: Option<SpoolError>,
    /// Files of earlier runs are old.
    pub is_stale: bool,
    /// The result of draining the spool of earlier runs.
    pub earlier: EarlierRuns,
}

/// The result for the spans of earlier runs in the spool.
#[derive(Debug, Default)]
pub struct EarlierRuns {
    /// Spans that were delivered.
    pub delivered: u64,
    /// Spans that are lost: too old, too many, damaged or refused.
    pub dropped: u64,
    /// The first files that were not sent unchanged.
    pub findings: Vec<SpoolFinding>,
    /// How many there were.
    pub found: usize,
    /// Why the spool could not be read.
    pub error: Option<SpoolError>,
}

impl ExitReport {
    /// Whether all spans were delivered, or will be without intervention.
    pub fn is_quiet(&self) -> bool {
        let is_slow = self.failure.as_ref().is_none_or(ExportFailure::is_slow) && !self.is_stale;
        self.dropped == 0 && (self.spooled == 0 || is_slow)
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            exported,
            spooled,
            dropped,
            ..
        } = self;
        write!(f, "{exported} spans exported, {spooled} kept, {dropped} dropped")
    }
}

/// Ends exporters: accepts no more records, and resolves when their spans are delivered, in the spool or lost. That is
/// after [`ExitOptions::wait`] at the latest, or when `interrupted` resolves; later only while the disk stalls, by
/// [`EXIT_SPOOL_GRACE`] at most. Needs a runtime with time.
///
/// Cancellation loses the undelivered spans.
pub async fn exit(
    exporters: &[Arc<Exporter>],
    exit: ExitOptions,
    interrupted: impl Future<Output = ()>,
) -> ExitReport {
    let began = Instant::now();
    let deadline = began + exit.wait.min(EXPORT_SHUTDOWN_MAX);
    for exporter in exporters {
        // Encodes the queued records here: the exporter's thread has a low priority, and on a busy machine would hold
        // the lock of the outbox for long.
        exporter.refuse();
        exporter.remaining();
        exporter.close(deadline, exit.is_patient);
    }
    let ended = async {
        for exporter in exporters {
            exporter.ended().await;
        }
    };
    let interrupted = async {
        interrupted.await;
        exporters.iter().for_each(|exporter| exporter.give_up());
    };
    // The first of these ends the wait for the collector.
    let waited = async {
        tokio::select! {
            () = ended => {}
            () = sleep_until(deadline.into()) => {}
            () = interrupted => {}
        }
    };
    let mut waited = pin!(waited);
    let is_over = tokio::select! {
        () = &mut waited => true,
        () = sleep_until((began + EXIT_SPOOL_AFTER).into()) => false,
    };
    let mut spooling = Spooling::Nothing;
    if !exporters.iter().all(|exporter| exporter.is_done()) {
        spooling = Spooling::start(exporters, exit.spool);
    }
    if !is_over {
        waited.await;
    }
    let patience = Instant::now() + EXIT_SPOOL_GRACE;
    spooling.finish(exporters, patience).await
}

/// The state of writing this run's spool file.
enum Spooling {
    /// All spans were delivered.
    Nothing,
    /// There is no usable spool.
    Nowhere(Option<SpoolError>),
    /// A thread writes the file.
    Writing(Spool, oneshot::Receiver<SpoolResult>),
}

/// The requests to write, and the result.
type SpoolResult = (Vec<EncodedRequest>, Result<(SpoolFile, PruneReport), SpoolError>);

impl Spooling {
    fn start(exporters: &[Arc<Exporter>], spool: Option<Spool>) -> Self {
        let Some(spool) = spool else {
            return Self::Nowhere(None);
        };
        let (done, outcome) = oneshot::channel();
        let exporters = exporters.to_vec();
        let to = spool.clone();
        let writer = std::thread::Builder::new()
            .name("baton-spool".to_owned())
            .spawn(move || {
                let left: Vec<_> = exporters
                    .iter()
                    .flat_map(|exporter| exporter.remaining())
                    .collect();
                let written = to.write(&left);
                // The receiver may be gone, if the process is ending.
                let _ = done.send((left, written));
            });
        match writer {
            Ok(_) => Self::Writing(spool, outcome),
            Err(source) => Self::Nowhere(Some(SpoolError::Io {
                path: spool.path().to_owned(),
                source,
            })),
        }
    }

    /// Waits for the file, and updates it to the requests that remain.
    async fn finish(self, exporters: &[Arc<Exporter>], patience: Instant) -> ExitReport {
        let outcome = match self {
            Self::Nothing => None,
            Self::Nowhere(error) => Some(Err(error)),
            Self::Writing(spool, outcome) => {
                let written = tokio::select! {
                    biased;
                    outcome = outcome => outcome.ok(),
                    () = sleep_until(patience.into()) => None,
                };
                Some(written.map(|written| (spool, written)).ok_or(None))
            }
        };
        let mut left = Vec::new();
        for exporter in exporters {
            left.extend(exporter.take_remaining());
        }
        let mut report = report(exporters);
        match outcome {
            None => {}
            Some(Err(error)) => report.spool_error = error,
            Some(Ok((_, (_, Err(error))))) => report.spool_error = Some(error),
            Some(Ok((spool, (was_left, Ok((written, pruned)))))) => {
                report.earlier.dropped += pruned.spans;
                let stale_ms = now_ms().saturating_sub(SPOOL_STALE.as_millis() as u64);
                report.is_stale = pruned.oldest_ms.is_some_and(|oldest_ms| oldest_ms < stale_ms);
                if left.is_empty() {
                    written.remove();
                } else if left == was_left {
                    report.spooled = count(&left);
                } else {
                    // A part was delivered meanwhile. The disk works, so the rest is written again.
                    match spool.write(&left) {
                        Ok((_, again)) => {
                            written.remove();
                            report.earlier.dropped += again.spans;
                        }
                        // The older file stays, and a part of it is sent twice.
                        Err(_) => drop(written),
                    }
                    report.spooled = count(&left);
                }
            }
        }
        report.dropped += count(&left) - report.spooled;
        if let Some(exporter) = exporters.first()
            && !left.is_empty()
        {
            let failure = exporters.iter().find_map(|exporter| exporter.failure());
            report.failure = Some(failure.unwrap_or_else(|| exporter.patience()));
        }
        report
    }
}

fn count(requests: &[EncodedRequest]) -> u64 {
    requests.iter().map(|request| request.spans).sum()
}

/// The report without the remaining spans.
fn report(exporters: &[Arc<Exporter>]) -> ExitReport {
    let mut report = ExitReport::default();
    for exporter in exporters {
        let (exported, dropped) = exporter.counts();
        report.exported += exported;
        report.dropped += dropped;
        if dropped > 0 {
            report.failure = report.failure.or_else(|| exporter.failure());
        }
        let mut drained = exporter.drained();
        report.earlier.delivered += drained.delivered;
        report.earlier.dropped += drained.dropped;
        report.earlier.findings.append(&mut drained.findings);
        report.earlier.found += drained.found;
        report.earlier.error = report.earlier.error.or_else(|| drained.error.take());
    }
    report
}
