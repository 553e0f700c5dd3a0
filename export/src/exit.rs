//! How a process leaves: a short wait for the collector, and the spool for what it does not have by then.
//!
//! ```text
//! closed ── EXIT_SPOOL_AFTER ──► written to the spool, by a thread of its own ──┐
//!    └────── the collector is waited for ───────────────────── at most `wait` ──┴─► delivered: the file is taken away
//!                                                                                   not: it stays for a later run
//! ```
//!
//! Persisting begins early and beside the wait, so that the file is there when the wait is over; only a disk that stalls is waited for longer, by
//! [`EXIT_SPOOL_GRACE`] at most. A collector that refuses
//! connections ends the wait at once, unless the wait is patient; so does an interruption.

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

/// How to leave.
#[derive(Debug, Clone)]
pub struct ExitOptions {
    /// Longest wait for the collector.
    pub wait: Duration,
    /// Go on trying for all of the wait where nobody listens: there may be no later run.
    pub is_patient: bool,
    /// Where what is left goes. Without it, it is dropped.
    pub spool: Option<Spool>,
}

/// What became of the spans of all exporters. None is missing: `exported + spooled + dropped` is what they were given.
#[derive(Debug, Default)]
pub struct ExitReport {
    /// Spans that the collector has.
    pub exported: u64,
    /// Spans that are in the spool.
    pub spooled: u64,
    /// Spans that nobody will get any more.
    pub dropped: u64,
    /// Why the collector does not have them all.
    pub failure: Option<ExportFailure>,
    /// Why the spool does not have the rest.
    pub spool_error: Option<SpoolError>,
    /// Files of earlier runs have waited for long.
    pub is_stale: bool,
    /// What became of what earlier runs have left.
    pub earlier: EarlierRuns,
}

/// What became of spans that earlier runs have left in the spool.
#[derive(Debug, Default)]
pub struct EarlierRuns {
    /// Spans that the collector has now.
    pub delivered: u64,
    /// Spans that nobody will get any more: too old, too many, damaged or refused.
    pub dropped: u64,
    /// Files that were not sent as they were; the first of them.
    pub findings: Vec<SpoolFinding>,
    /// How many there were.
    pub found: usize,
    /// Why the spool could not be read.
    pub error: Option<SpoolError>,
}

impl ExitReport {
    /// Whether all that was to be exported is with the collector, or will be without anybody's doing.
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

/// Ends exporters: takes no more records, and resolves when their spans are with the collector, in the spool or lost. That is after
/// [`ExitOptions::wait`] at the latest, or when `interrupted` resolves; later only while the disk keeps it waiting, by [`EXIT_SPOOL_GRACE`] at most.
/// Needs a runtime with time.
///
/// Cancelled, it leaves what is not delivered to nobody.
pub async fn exit(
    exporters: &[Arc<Exporter>],
    exit: ExitOptions,
    interrupted: impl Future<Output = ()>,
) -> ExitReport {
    let began = Instant::now();
    let deadline = began + exit.wait.min(EXPORT_SHUTDOWN_MAX);
    for exporter in exporters {
        // What waits is encoded here: the exporter's thread lets others go first, and on a busy machine would hold the outbox meanwhile.
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
    // Whichever comes first ends the wait for the collector.
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

/// The file of this run.
enum Spooling {
    /// All is delivered.
    Nothing,
    /// There is nowhere to write to.
    Nowhere(Option<SpoolError>),
    /// A thread writes it.
    Writing(Spool, oneshot::Receiver<SpoolResult>),
}

/// What was to be written, and what came of it.
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
                // Nobody may wait any more: then the process ends.
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

    /// Waits for the file, and makes it what is left.
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
                    // Some of it was delivered meanwhile. The disk has just shown that it is alive.
                    match spool.write(&left) {
                        Ok((_, again)) => {
                            written.remove();
                            report.earlier.dropped += again.spans;
                        }
                        // Then the older file stays, and some of it arrives twice.
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

/// All but what becomes of what is left.
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
