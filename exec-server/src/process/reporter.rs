//! Reports one process's lifecycle to the observer.

use std::sync::Arc;
use std::time::Instant;

use baton_trace::call::ServerCall;
use baton_trace::record::{Anchor, StageRecord};

use super::lifecycle::Lifecycle;
use crate::error::StartError;
use crate::records::{Accepted, Measured, Observer, ProcessKey, Records};
use crate::termination::{Close, Exit};

/// See the [module](self). Does nothing without an observer. If it is dropped before the process was spawned, it
/// reports that nothing runs: else the store would list the process as running for ever.
#[derive(Debug)]
pub(super) struct LifecycleReporter(Option<Inner>);

#[derive(Debug)]
struct Inner {
    observer: Arc<dyn Observer>,
    process: ProcessKey,
    /// The anchor of the call, so that all times of one process are computed from one reading of the clocks.
    anchor: Anchor,
    is_decided: bool,
}

impl LifecycleReporter {
    /// Reports an accepted start.
    pub(super) fn accepted<'a>(
        records: &Records,
        process: ProcessKey,
        anchor: Anchor,
        now: Instant,
        accepted: impl FnOnce(u64) -> Accepted<'a>,
    ) -> Self {
        Self(records.observer.clone().map(|observer| {
            observer.accepted(process, &accepted(anchor.unix_ns_of(now)));
            Inner {
                observer,
                process,
                anchor,
                is_decided: false,
            }
        }))
    }

    /// Reports that nothing runs.
    pub(super) fn refused(&mut self, why: &StartError, now: Instant) {
        if let Some(inner) = &mut self.0 {
            inner.is_decided = true;
            inner
                .observer
                .refused(inner.process, why, inner.anchor.unix_ns_of(now));
        }
    }

    pub(super) fn started(&mut self, pid: u32, now: Instant) {
        if let Some(inner) = &mut self.0 {
            inner.is_decided = true;
            inner
                .observer
                .started(inner.process, pid, inner.anchor.unix_ns_of(now));
        }
    }

    /// Reports, when it is sent, that the first event was handed to the transport.
    pub(super) fn delivery(&self) -> Option<DeliveryNotice> {
        self.0.as_ref().map(|inner| DeliveryNotice {
            observer: Arc::clone(&inner.observer),
            process: inner.process,
        })
    }

    /// Whether there is an observer.
    pub(super) fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Reports the `seq` of the last event.
    pub(super) fn progressed(&self, seq: u64) {
        if let Some(inner) = &self.0 {
            inner.observer.progressed(inner.process, seq);
        }
    }

    pub(super) fn exited(&self, exit: &Exit) {
        if let Some(inner) = &self.0 {
            inner.observer.exited(inner.process, exit);
        }
    }

    /// Reports the end with all stages: those of the call if it records them, else those of the lifecycle.
    pub(super) fn closed(
        &self,
        exit: &Exit,
        close: &Close,
        lifecycle: &Lifecycle,
        call: Option<&ServerCall>,
    ) {
        let Some(inner) = &self.0 else { return };
        let own = lifecycle
            .stages()
            .map(|(stage, start, end)| StageRecord::between(&inner.anchor, stage, start, end));
        let stages: Vec<_> = match call {
            Some(call) if call.is_recording() => call.stages(),
            _ => own.collect(),
        };
        let measured = Measured {
            stages: &stages,
            anchor: &inner.anchor,
            family: lifecycle.family(),
        };
        inner.observer.closed(inner.process, exit, close, &measured);
    }
}

impl Drop for LifecycleReporter {
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|inner| !inner.is_decided) {
            self.refused(&StartError::Abandoned, baton_export::clock::now());
        }
    }
}

/// Reports, once, that the first event of a process was handed to the transport.
#[derive(Debug)]
pub(super) struct DeliveryNotice {
    observer: Arc<dyn Observer>,
    process: ProcessKey,
}

impl DeliveryNotice {
    pub(super) fn send(self) {
        self.observer.delivered(self.process);
    }
}
