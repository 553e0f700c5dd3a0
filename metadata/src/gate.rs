//! `--durability start`: a start is on disk before its process is created, so no crash causes a second run.

use baton_exec_server::limits::DURABLE_TIMEOUT;
use baton_exec_server::records::{self, Answer, Gate, NotDurable};
use baton_trace::outcome::OutcomeKind;

use crate::handle::WriterHandle;
use crate::observer::key;
use crate::record::ProcessKey;
use crate::store::query::ProcessRecord;
use crate::store::sqlite::Reader;

/// Delays the creation of a process until its start is on disk.
#[derive(Debug)]
pub struct DurableStartGate {
    handle: WriterHandle,
    reader: Reader,
}

impl DurableStartGate {
    pub(crate) fn new(handle: WriterHandle, reader: Reader) -> Self {
        Self { handle, reader }
    }

    /// The stored record of a process.
    async fn record(&self, key: ProcessKey) -> Result<Option<ProcessRecord>, NotDurable> {
        let reader = self.reader.clone();
        // A query waits for the disk, so it must not run on a thread that delivers events.
        let asked = tokio::task::spawn_blocking(move || reader.process(&key));
        asked.await.map_err(|_| NotDurable)?.map_err(|_| NotDurable)
    }

    async fn flushed(&self) -> Result<(), NotDurable> {
        // The caller's own deadline is shorter.
        let made = self.handle.made_durable(DURABLE_TIMEOUT).await;
        made.map_err(|_| NotDurable)
    }
}

impl Gate for DurableStartGate {
    fn may_have_run(&self, process: records::ProcessKey) -> Answer<'_, bool> {
        Box::pin(async move {
            let key = key(process);
            if self.record(key).await?.is_none_or(|record| never_ran(&record)) {
                return Ok(false);
            }
            // The patch that says that the start was refused may still be queued.
            self.flushed().await?;
            Ok(!self.record(key).await?.is_none_or(|record| never_ran(&record)))
        })
    }

    fn durable(&self) -> Answer<'_, ()> {
        Box::pin(self.flushed())
    }
}

fn never_ran(record: &ProcessRecord) -> bool {
    let end = record.patch.end.as_ref();
    end.is_some_and(|end| end.outcome.kind() == OutcomeKind::FailedToStart)
}
