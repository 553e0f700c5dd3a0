//! A store in a temporary directory, and sample records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_metadata::record::{
    Owner, ProcessEnd, ProcessKey, ProcessPatch, ProcessSpawned, ProcessStart, SlowestStage, ThreadKey,
    ThreadPatch, Timings, TraceRef,
};
use baton_metadata::store::query::HistoryQuery;
use baton_metadata::store::retention::Retention;
use baton_metadata::store::sqlite::{self, DATABASE, OpenError, OpenedStore, StoreOptions, Survivor};
use baton_metadata::store::timings::{StageTime, encode};
use baton_metadata::store::{Store, boot};
use baton_metadata::{Batch, Update};
use baton_proto::{Epoch, ProcessId};
use baton_trace::outcome::Outcome;
use baton_trace::stage::exec;
use tempfile::TempDir;

/// 1 November 2026.
pub(crate) const NOW: u64 = 1_793_491_200_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const DAY: u64 = 86_400 * SECOND;

pub(crate) const ME: Owner = Owner([7; 32]);
pub(crate) const OTHER: Owner = Owner([8; 32]);

pub(crate) struct TestStateDirectory {
    pub(crate) directory: TempDir,
    pub(crate) retention: Retention,
}

impl TestStateDirectory {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            retention: Retention::default(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join(DATABASE)
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            directory: self.path(),
            name: "exec-server of the test".to_owned(),
            epoch: Epoch(rand::random()),
            retention: self.retention,
            now_unix_ns: NOW,
        }
    }

    pub(crate) fn try_open(&self) -> Result<OpenedStore, OpenError> {
        sqlite::open(&self.options(), &mut |survivor: &[Survivor]| {
            panic!("unexpected survivors: {survivor:?}")
        })
    }

    pub(crate) fn open(&self) -> OpenedStore {
        self.try_open().unwrap()
    }
}

pub(crate) fn id(n: u64) -> ProcessId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    ProcessId(id)
}

pub(crate) fn key(n: u64) -> ProcessKey {
    ProcessKey {
        owner: ME,
        process_id: id(n),
    }
}

pub(crate) fn thread_key(name: &str) -> ThreadKey {
    ThreadKey {
        owner: ME,
        thread_id: name.into(),
    }
}

/// A start that was accepted `n` seconds after [`NOW`].
pub(crate) fn start(n: u64) -> ProcessStart {
    ProcessStart {
        epoch: Epoch([1; 16]),
        boot_id: boot::boot_id().unwrap(),
        thread_id: None,
        turn: None,
        step: None,
        argv: [&b"sh"[..], b"-c", b"echo ok"]
            .map(Box::from)
            .into_iter()
            .collect(),
        argv_cut: false,
        cwd: b"/src/baton"[..].into(),
        accepted_unix_ns: NOW + n * SECOND,
        detached: false,
        parameters: [9; 32],
        trace: Some(TraceRef {
            trace_id: trace_id(n),
            sampled: true,
        }),
    }
}

pub(crate) fn trace_id(n: u64) -> [u8; 16] {
    (u128::from(n)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    .to_be_bytes()
}

pub(crate) fn started(n: u64) -> ProcessPatch {
    ProcessPatch {
        start: Some(Arc::new(start(n))),
        ..ProcessPatch::new(key(n))
    }
}

pub(crate) fn stages(n: u64) -> Vec<StageTime> {
    let time = |stage, start_ns, duration_ns| StageTime {
        stage,
        attempt: 0,
        start_ns,
        duration_ns,
    };
    vec![
        time(exec::PROCESS, 0, 900_000 + n),
        time(exec::PROCESS_SPAWN, 10, 400_000 + n),
        time(exec::PROCESS_WAIT, 400_010, 490_000 + n),
    ]
}

pub(crate) fn end(n: u64, outcome: Outcome) -> ProcessEnd {
    ProcessEnd {
        outcome,
        message: None,
        ended_unix_ns: NOW + n * SECOND + 900_000,
        stdout_bytes: 3,
        stderr_bytes: 0,
        family: None,
        timings: Some(Timings {
            encoded: encode(&stages(n)).into(),
            slowest: Some(SlowestStage {
                stage: exec::PROCESS_WAIT,
                duration_ns: 490_000 + n,
            }),
        }),
    }
}

/// A complete record: started, spawned and ended.
pub(crate) fn finished(n: u64, outcome: Outcome) -> ProcessPatch {
    ProcessPatch {
        spawned: Some(ProcessSpawned {
            os_pid: 4_000_000,
            start_ticks: n,
            spawned_unix_ns: NOW + n * SECOND + 1,
        }),
        last_seq: 4,
        end: Some(end(n, outcome)),
        ..started(n)
    }
}

pub(crate) fn ok(n: u64) -> ProcessPatch {
    finished(n, Outcome::Exited { code: 0 })
}

pub(crate) fn batch(updates: impl IntoIterator<Item = impl Into<Update>>) -> Batch {
    let mut batch = Batch::default();
    for update in updates {
        match update.into() {
            Update::Process(patch) => batch.processes.push(patch),
            Update::Thread(patch) => batch.threads.push(patch),
        }
    }
    batch
}

pub(crate) fn write(store: &mut dyn Store, updates: impl IntoIterator<Item = impl Into<Update>>) {
    store.write(&batch(updates)).unwrap();
}

pub(crate) fn titled(name: &str, title: &str) -> ThreadPatch {
    ThreadPatch {
        title: Some(Some(title.into())),
        ..ThreadPatch::touch(thread_key(name), NOW)
    }
}

/// The ids of all records of [`ME`], newest first.
pub(crate) fn ids(opened: &OpenedStore) -> Vec<ProcessId> {
    let page = opened.reader.history(&HistoryQuery::of(ME)).unwrap();
    page.items
        .iter()
        .map(|record| record.patch.key.process_id)
        .collect()
}

/// The result of `pragma integrity_check` on a new connection.
pub(crate) fn integrity(database: &Path) -> String {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .unwrap()
}

/// A random generator with a printed seed, which `BATON_TEST_SEED` sets.
pub(crate) fn seeded() -> rand::rngs::StdRng {
    use rand::SeedableRng;
    rand::rngs::StdRng::seed_from_u64(baton_support::scale::seed())
}
