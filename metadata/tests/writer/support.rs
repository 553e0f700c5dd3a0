//! A store in memory, a layer of faults around any store, and updates of a few bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use baton_metadata::record::{Outcome, Owner, ProcessEnd, ProcessKey, ThreadKey};
use baton_metadata::store::{UpkeepProgress, WriteErrorKind, WriteSummary};
use baton_metadata::{Batch, FlushError, ProcessPatch, Store, ThreadPatch, WriteError, Writer, WriterHandle};
use baton_proto::ProcessId;
use baton_trace::recorder::Recorder;

/// Long enough never to pass on a busy machine, short enough for a test that hangs.
pub(crate) const AT_MOST: Duration = Duration::from_secs(20);

/// What a store holds.
#[derive(Debug, Default)]
pub(crate) struct StoreContents {
    pub(crate) processes: BTreeMap<ProcessKey, ProcessPatch>,
    pub(crate) threads: BTreeMap<ThreadKey, ThreadPatch>,
    /// Patches that it took.
    pub(crate) patches: usize,
    pub(crate) batches: usize,
    pub(crate) closed: bool,
}

/// Keeps everything, in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<StoreContents>>);

impl MemoryStore {
    pub(crate) fn contents(&self) -> MutexGuard<'_, StoreContents> {
        self.0.lock().unwrap()
    }

    /// The value `n` of a thread, as [`value`] sets it.
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

/// A store around another one, that does what it is told.
pub(crate) struct FaultyStore<S> {
    inner: S,
    control: Arc<FaultControl>,
}

/// Tells a [`FaultyStore`] store.
#[derive(Debug, Clone)]
pub(crate) struct FaultHandle(Arc<FaultControl>);

#[derive(Debug, Default)]
struct FaultControl {
    faults: Mutex<FaultState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct FaultState {
    /// Writes that may return; all of them without a number.
    passes: Option<usize>,
    fails: Option<WriteErrorKind>,
    panics: bool,
    /// Writes that began.
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
        let mut what = self.control.faults.lock().unwrap();
        what.begun += 1;
        self.control.changed.notify_all();
        let stalls = |what: &mut FaultState| what.passes == Some(0);
        let mut what = self.control.changed.wait_while(what, stalls).unwrap();
        what.passes = what.passes.map(|passes| passes - 1);
        let (fails, panics) = (what.fails, what.panics);
        drop(what);
        assert!(!panics, "a panic by command");
        if let Some(kind) = fails {
            return Err(WriteError::new(kind, "by command"));
        }
        self.inner.write(batch)
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<UpkeepProgress, WriteError> {
        self.inner.upkeep(now_unix_ns)
    }
}

impl FaultHandle {
    pub(crate) fn stall(&self, stalls: bool) {
        self.notify(|what| what.passes = stalls.then_some(0));
    }

    /// Lets this many writes return, and no more.
    pub(crate) fn pass(&self, writes: usize) {
        self.notify(|what| what.passes = Some(writes));
    }

    pub(crate) fn fail(&self, kind: impl Into<Option<WriteErrorKind>>) {
        let kind = kind.into();
        self.notify(|what| what.fails = kind);
    }

    pub(crate) fn panic(&self, panics: bool) {
        self.notify(|what| what.panics = panics);
    }

    /// Waits until this many writes have begun, since the start.
    pub(crate) fn wait_begun(&self, writes: usize) {
        let what = self.0.faults.lock().unwrap();
        let (what, _) = self
            .0
            .changed
            .wait_timeout_while(what, AT_MOST, |what| what.begun < writes)
            .unwrap();
        assert!(what.begun >= writes, "only {} writes began", what.begun);
    }

    pub(crate) fn begun(&self) -> usize {
        self.0.faults.lock().unwrap().begun
    }

    fn notify(&self, change: impl FnOnce(&mut FaultState)) {
        change(&mut self.0.faults.lock().unwrap());
        self.0.changed.notify_all();
    }
}

/// A writer, what it wrote, and the way to make it fail.
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

    /// Ends what [`FaultHandle::fail`] began. A write that has yet to tell that it failed may be under way, and a barrier beside it would say so: here
    /// it is waited for.
    pub(crate) async fn repair(&self) {
        self.faults.fail(None);
        while let Err(FlushError::Failed { .. }) = self.handle.flush().await {}
    }
}

/// Notes that the store was closed.
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

/// Progress of a process.
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

/// Its end, of some 1,600 bytes.
pub(crate) fn end(n: u64) -> ProcessPatch {
    let mut patch = process(n);
    patch.end = Some(ProcessEnd {
        outcome: Outcome::Exited { code: 0 },
        fault: None,
        call_end: None,
        ended_unix_ns: n,
        stdout_bytes: 0,
        stderr_bytes: 0,
        timings: Some(baton_metadata::record::Timings {
            encoded: vec![0; 1_000].into(),
            slowest: None,
        }),
    });
    patch
}
