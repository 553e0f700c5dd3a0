//! A store in memory, a layer of faults around any store, and updates of a few bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use baton_metadata::record::{Outcome, Owner, ProcessEnd, ProcessKey, ThreadKey};
use baton_metadata::store::{Upkeep, WriteErrorKind, Written};
use baton_metadata::{Batch, FlushError, ProcessPatch, Store, ThreadPatch, WriteError, Writer, WriterHandle};
use baton_proto::ProcessId;
use baton_trace::recorder::Recorder;

/// Long enough never to pass on a busy machine, short enough for a test that hangs.
pub(crate) const AT_MOST: Duration = Duration::from_secs(20);

/// What a store holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) processes: BTreeMap<ProcessKey, ProcessPatch>,
    pub(crate) threads: BTreeMap<ThreadKey, ThreadPatch>,
    /// Patches that it took.
    pub(crate) patches: usize,
    pub(crate) batches: usize,
    pub(crate) closed: bool,
}

/// Keeps everything, in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Held>>);

impl Memory {
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }

    /// The value `n` of a thread, as [`value`] sets it.
    pub(crate) fn has(&self, thread: &str, n: usize) -> bool {
        let held = self.held();
        let patch = held.threads.get(&thread_key(thread));
        patch.is_some_and(|patch| patch.values.contains_key(&*n.to_string()))
    }
}

impl Store for Memory {
    fn write(&mut self, batch: &Batch) -> Result<Written, WriteError> {
        let mut held = self.held();
        held.batches += 1;
        held.patches += batch.len();
        for patch in batch.processes.iter().cloned() {
            let key = patch.key;
            held.processes
                .entry(key)
                .or_insert_with(|| ProcessPatch::new(key))
                .merge(patch);
        }
        for patch in batch.threads.iter().cloned() {
            match held.threads.get_mut(&patch.key) {
                Some(thread) => thread.merge(patch),
                None => drop(held.threads.insert(patch.key.clone(), patch)),
            }
        }
        Ok(Written {
            rows: batch.len() as u64,
        })
    }

    fn upkeep(&mut self, _now_unix_ns: u64) -> Result<Upkeep, WriteError> {
        Ok(Upkeep::Done)
    }
}

/// A store around another one, that does what it is told.
pub(crate) struct Faulty<S> {
    inner: S,
    told: Arc<Told>,
}

/// Tells a [`Faulty`] store.
#[derive(Debug, Clone)]
pub(crate) struct Faults(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    faults: Mutex<What>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct What {
    /// Writes that may return; all of them without a number.
    passes: Option<usize>,
    fails: Option<WriteErrorKind>,
    panics: bool,
    /// Writes that began.
    begun: usize,
}

impl<S> Faulty<S> {
    pub(crate) fn around(inner: S) -> (Self, Faults) {
        let told = Arc::new(Told::default());
        let store = Self {
            inner,
            told: told.clone(),
        };
        (store, Faults(told))
    }
}

impl<S: Store> Store for Faulty<S> {
    fn write(&mut self, batch: &Batch) -> Result<Written, WriteError> {
        let mut what = self.told.faults.lock().unwrap();
        what.begun += 1;
        self.told.changed.notify_all();
        let stalls = |what: &mut What| what.passes == Some(0);
        let mut what = self.told.changed.wait_while(what, stalls).unwrap();
        what.passes = what.passes.map(|passes| passes - 1);
        let (fails, panics) = (what.fails, what.panics);
        drop(what);
        assert!(!panics, "a panic by command");
        if let Some(kind) = fails {
            return Err(WriteError::new(kind, "by command"));
        }
        self.inner.write(batch)
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<Upkeep, WriteError> {
        self.inner.upkeep(now_unix_ns)
    }
}

impl Faults {
    pub(crate) fn stall(&self, stalls: bool) {
        self.tell(|what| what.passes = stalls.then_some(0));
    }

    /// Lets this many writes return, and no more.
    pub(crate) fn pass(&self, writes: usize) {
        self.tell(|what| what.passes = Some(writes));
    }

    pub(crate) fn fail(&self, kind: impl Into<Option<WriteErrorKind>>) {
        let kind = kind.into();
        self.tell(|what| what.fails = kind);
    }

    pub(crate) fn panic(&self, panics: bool) {
        self.tell(|what| what.panics = panics);
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

    fn tell(&self, change: impl FnOnce(&mut What)) {
        change(&mut self.0.faults.lock().unwrap());
        self.0.changed.notify_all();
    }
}

/// A writer, what it wrote, and the way to make it fail.
pub(crate) struct Bench {
    pub(crate) handle: WriterHandle,
    pub(crate) writer: Writer,
    pub(crate) memory: Memory,
    pub(crate) faults: Faults,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::recording(Recorder::off())
    }

    pub(crate) fn recording(recorder: Recorder) -> Self {
        let memory = Memory::default();
        let (store, faults) = Faulty::around(Closes(memory.clone()));
        let (handle, writer) = baton_metadata::start(Box::new(store), recorder).unwrap();
        Self {
            handle,
            writer,
            memory,
            faults,
        }
    }

    /// Ends what [`Faults::fail`] began. A write that has yet to tell that it failed may be under way, and a barrier beside it would say so: here
    /// it is waited for.
    pub(crate) async fn mend(&self) {
        self.faults.fail(None);
        while let Err(FlushError::Failed { .. }) = self.handle.flush().await {}
    }
}

/// Notes that the store was closed.
struct Closes(Memory);

impl Store for Closes {
    fn write(&mut self, batch: &Batch) -> Result<Written, WriteError> {
        self.0.write(batch)
    }

    fn upkeep(&mut self, now_unix_ns: u64) -> Result<Upkeep, WriteError> {
        self.0.upkeep(now_unix_ns)
    }
}

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.held().closed = true;
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
