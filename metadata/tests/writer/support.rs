//! A store in memory, a store with injected faults, and small sample updates.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use baton_metadata::record::{Owner, ProcessEnd, ProcessKey, ThreadKey};
use baton_metadata::store::{UpkeepProgress, WriteErrorKind, WriteSummary};
use baton_metadata::{Batch, FlushError, ProcessPatch, Store, ThreadPatch, WriteError, Writer, WriterHandle};
use baton_proto::ProcessId;
use baton_trace::outcome::Outcome;
use baton_trace::recorder::Recorder;

/// A deadline that a busy machine does not reach, and that ends a test that hangs.
pub(crate) const AT_MOST: Duration = Duration::from_secs(20);

/// The contents of a store.
#[derive(Debug, Default)]
pub(crate) struct StoreContents {
    pub(crate) processes: BTreeMap<ProcessKey, ProcessPatch>,
    pub(crate) threads: BTreeMap<ThreadKey, ThreadPatch>,
    /// Number of patches that were written.
    pub(crate) patches: usize,
    pub(crate) batches: usize,
    pub(crate) closed: bool,
}

/// A store that keeps everything in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<StoreContents>>);

impl MemoryStore {
    pub(crate) fn contents(&self) -> MutexGuard<'_, StoreContents> {
        self.0.lock().unwrap()
    }

    /// Whether the thread has the value `n` that [`value`] sets.
    pub(crate) fn has(&self, thread: &str, n: usize) -> bool {
        let contents = self.contents();
        let patch = contents.threads.get(&thread_key(thread));
        patch.is_some_and(|patch| patch.values.contains_key(&*n.to_string()))
    }
}

impl Store for MemoryStore {
    fn write(&mut self, batch: &Batch) -> Result<WriteSummary, WriteError> {
        let mut contents = self.contents();
        contents.batches += 1;
        contents.patches += batch.len();
        for patch in batch.processes.iter().cloned() {
            let key = patch.key;
            contents
                .processes
                .entry(key)
                .or_insert_with(|| ProcessPatch::new(key))
                .merge(patch);
        }
        for patch in batch.threads.iter().cloned() {
            match contents.threads.get_mut(&patch.key) {
                Some(thread) => thread.merge(patch),
                None => drop(contents.threads.insert(patch.key.clone(), patch)),
            }
        }
        Ok(WriteSummary {
            rows: batch.len() as u64,
        })
    }

    fn upkeep(&mut self, _now_unix_ns: u64) -> Result<UpkeepProgress, WriteError> {
        Ok(UpkeepProgress::Done)
    }
}

/// A store that wraps another one and injects faults.
pub(crate) struct FaultyStore<S> {
    inner: S,
    control: Arc<FaultControl>,
}

/// Sets the faults of a [`FaultyStore`].
#[derive(Debug, Clone)]
pub(crate) struct FaultHandle(Arc<FaultControl>);

#[derive(Debug, Default)]
struct FaultControl {
    faults: Mutex<FaultState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct FaultState {
    /// Number of writes that may return; `None` is no limit.
    passes: Option<usize>,
    fails: Option<WriteErrorKind>,
    panics: bool,
    /// Number of writes that have begun.
    begun: usize,
}

impl<S> FaultyStore<S> {
    pub(crate) fn around(inner: S) -> (Self, FaultHandle) {
        let control = Arc::new(FaultControl::default());
        let store = Self {
            inner,
            control: control.clone(),
        };
        (store, FaultHandle(control))
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn write(&mut self, batch: &Batch) -> Result<WriteSummary, WriteError> {
        let mut faults = self.control.faults.lock().unwrap();
        faults.begun += 1;
        self.control.changed.notify_all();
        let stalls = |faults: &mut FaultState| faults.passes == Some(0);
        let mut faults = self.control.changed.wait_while(faults, stalls).unwrap();
        faults.passes = faults.passes.map(|passes| passes - 1);
        let (fails, panics) = (faults.fails, faults.panics);
        drop(faults);
        assert!(!panics, "an injected panic");
        if let Some(kind) = fails {
            return Err(WriteError::new(kind, "injected"));
        }
        self.inner.write(batch)
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<UpkeepProgress, WriteError> {
        self.inner.upkeep(now_unix_ns)
    }
}

impl FaultHandle {
    pub(crate) fn stall(&self, stalls: bool) {
        self.notify(|faults| faults.passes = stalls.then_some(0));
    }

    /// Lets exactly this many further writes return.
    pub(crate) fn pass(&self, writes: usize) {
        self.notify(|faults| faults.passes = Some(writes));
    }

    pub(crate) fn fail(&self, kind: impl Into<Option<WriteErrorKind>>) {
        let kind = kind.into();
        self.notify(|faults| faults.fails = kind);
    }

    pub(crate) fn panic(&self, panics: bool) {
        self.notify(|faults| faults.panics = panics);
    }

    /// Waits until this many writes have begun, since the start.
    pub(crate) fn wait_begun(&self, writes: usize) {
        let faults = self.0.faults.lock().unwrap();
        let (faults, _) = self
            .0
            .changed
            .wait_timeout_while(faults, AT_MOST, |faults| faults.begun < writes)
            .unwrap();
        assert!(faults.begun >= writes, "only {} writes began", faults.begun);
    }

    pub(crate) fn begun(&self) -> usize {
        self.0.faults.lock().unwrap().begun
    }

    fn notify(&self, change: impl FnOnce(&mut FaultState)) {
        change(&mut self.0.faults.lock().unwrap());
        self.0.changed.notify_all();
    }
}

/// A writer, its store in memory, and the control of the store's faults.
pub(crate) struct TestWriter {
    pub(crate) handle: WriterHandle,
    pub(crate) writer: Writer,
    pub(crate) memory: MemoryStore,
    pub(crate) faults: FaultHandle,
}

impl TestWriter {
    pub(crate) fn start() -> Self {
        Self::recording(Recorder::off())
    }

    pub(crate) fn recording(recorder: Recorder) -> Self {
        let memory = MemoryStore::default();
        let (store, faults) = FaultyStore::around(CloseRecorder(memory.clone()));
        let (handle, writer) = baton_metadata::start(Box::new(store), recorder).unwrap();
        Self {
            handle,
            writer,
            memory,
            faults,
        }
    }

    /// Ends the fault of [`FaultHandle::fail`]. A write that failed may still be in progress, and the next barrier
    /// would report it; this waits until no barrier reports a failure.
    pub(crate) async fn repair(&self) {
        self.faults.fail(None);
        while let Err(FlushError::Failed { .. }) = self.handle.flush().await {}
    }
}

/// A store that records that it was dropped.
struct CloseRecorder(MemoryStore);

impl Store for CloseRecorder {
    fn write(&mut self, batch: &Batch) -> Result<WriteSummary, WriteError> {
        self.0.write(batch)
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<UpkeepProgress, WriteError> {
        self.0.upkeep(now_unix_ns)
    }
}

impl Drop for CloseRecorder {
    fn drop(&mut self) {
        self.0.contents().closed = true;
    }
}

pub(crate) fn thread_key(id: &str) -> ThreadKey {
    ThreadKey {
        owner: Owner([1; 32]),
        thread_id: id.into(),
    }
}

/// Sets value `n` of a thread.
pub(crate) fn value(thread: &str, n: usize) -> ThreadPatch {
    let mut patch = ThreadPatch::touch(thread_key(thread), n as u64);
    patch.values.insert(n.to_string().into(), Some("v".into()));
    patch
}

/// A patch of a running process.
pub(crate) fn process(n: u64) -> ProcessPatch {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    let mut patch = ProcessPatch::new(ProcessKey {
        owner: Owner([1; 32]),
        process_id: ProcessId(id),
    });
    patch.last_seq = 1;
    patch
}

/// The end of process `n`, of about 1,600 bytes.
pub(crate) fn end(n: u64) -> ProcessPatch {
    let mut patch = process(n);
    patch.end = Some(ProcessEnd {
        outcome: Outcome::Exited { code: 0 },
        message: None,
        ended_unix_ns: n,
        stdout_bytes: 0,
        stderr_bytes: 0,
        family: None,
        timings: Some(baton_metadata::record::Timings {
            encoded: vec![0; 1_000].into(),
            slowest: None,
        }),
    });
    patch
}
