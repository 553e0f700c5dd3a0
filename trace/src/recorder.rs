//! Passes finished call records to a sink. Off by default, at no cost.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::COLLECTED_MAX;
use crate::record::CallRecord;
use crate::sampler::Sampler;

/// Takes finished records. Called on the data path's thread, so it must not block.
pub trait RecordSink: Send + Sync {
    /// Takes one record.
    fn record(&self, record: CallRecord);
}

/// A handle to the sink of one component; cheap to clone.
#[derive(Clone, Default)]
pub struct Recorder {
    sink: Option<Arc<dyn RecordSink>>,
    keeps_stages: bool,
    sampler: Sampler,
}

impl Recorder {
    /// A recorder without a sink.
    pub fn off() -> Self {
        Self::default()
    }

    /// A recorder that passes every record to `sink`.
    pub fn to(sink: Arc<dyn RecordSink>) -> Self {
        Self {
            sink: Some(sink),
            ..Self::default()
        }
    }

    /// Sets the sampler, which decides which calls are sampled.
    pub fn sampling(self, sampler: Sampler) -> Self {
        Self { sampler, ..self }
    }

    /// The sampler, which decides which calls are sampled.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Keeps the stages of every call in its [`ServerCall`](crate::call::ServerCall), even if no sink takes its record.
    pub fn keeping_stages(self) -> Self {
        Self {
            keeps_stages: true,
            ..self
        }
    }

    /// Whether the stages of every call are kept.
    pub fn keeps_stages(&self) -> bool {
        self.keeps_stages
    }

    /// Whether a sink takes records.
    pub fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Passes a record to the sink.
    pub fn finish(&self, record: CallRecord) {
        if let Some(sink) = &self.sink {
            sink.record(record);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() {
            "Recorder(on)"
        } else {
            "Recorder(off)"
        })
    }
}

/// A sink that keeps records in memory, for tests and tools.
#[derive(Debug, Default)]
pub struct CollectingSink {
    records: Mutex<Vec<CallRecord>>,
}

impl CollectingSink {
    /// Removes and returns the collected records.
    pub fn take(&self) -> Vec<CallRecord> {
        std::mem::take(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RecordSink for CollectingSink {
    fn record(&self, record: CallRecord) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() < COLLECTED_MAX {
            records.push(record);
        }
    }
}
