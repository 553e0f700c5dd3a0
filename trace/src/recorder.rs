//! Where finished records go. Off by default, and then free.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::COLLECTED_MAX;
use crate::record::CallRecord;
use crate::sampler::Sampler;

/// Takes finished records. Called on the data path's thread: must neither block nor wait.
pub trait RecordSink: Send + Sync {
    /// Takes one record.
    fn record(&self, record: CallRecord);
}

/// A handle to the sinks of one part; cheap to clone.
#[derive(Clone, Default)]
pub struct Recorder {
    sink: Option<Arc<dyn RecordSink>>,
    keeps_stages: bool,
    sampler: Sampler,
}

impl Recorder {
    /// Keeps nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Hands every record to `sink`.
    pub fn to(sink: Arc<dyn RecordSink>) -> Self {
        Self {
            sink: Some(sink),
            ..Self::default()
        }
    }

    /// The same; and this decides which calls are sampled.
    pub fn sampling(self, sampler: Sampler) -> Self {
        Self { sampler, ..self }
    }

    /// Decides which calls are sampled.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// The same; and handlers find the stages of every call in its [`ServerCall`](crate::call::ServerCall), whether or not
    /// anybody takes its record.
    pub fn keeping_stages(self) -> Self {
        Self {
            keeps_stages: true,
            ..self
        }
    }

    /// Whether handlers want the stages of every call.
    pub fn keeps_stages(&self) -> bool {
        self.keeps_stages
    }

    /// Whether anybody takes records.
    pub fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Hands a record on.
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

/// A sink that keeps the latest records in memory, for tests and tools.
#[derive(Debug, Default)]
pub struct CollectingSink {
    records: Mutex<Vec<CallRecord>>,
}

impl CollectingSink {
    /// Takes out what has been collected.
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
