//! A database of a million records, like that of a server after a month: spread evenly over 30 days and 1,000 threads,
//! one in twenty failed, one in ten another client's, old timings rounded.

use std::path::Path;
use std::sync::Arc;

use baton_bench::Failure;
use baton_metadata::record::{Owner, ProcessKey, SlowestStage, ThreadKey, Timings};
use baton_metadata::store::UpkeepProgress;
use baton_metadata::store::timings::{StageTime, encode};
use baton_metadata::{Batch, ProcessPatch, Store as _, ThreadPatch};
use baton_proto::ProcessId;
use baton_trace::outcome::Outcome;
use baton_trace::record::unix_now_ns;
use baton_trace::stage::exec;

use crate::records;
use crate::state;

/// Number of records of both clients.
pub(crate) const RECORDS: u64 = 1_000_000;
/// Number of threads of each client.
pub(crate) const THREADS: u64 = 1_000;
/// Nanoseconds of a day.
pub(crate) const DAY_NS: u64 = 86_400_000_000_000;
const SPAN_NS: u64 = 30 * DAY_NS;
const BATCH: u64 = 5_000;
const OTHER_OWNER: Owner = Owner([2; 32]);

/// Fills the state in `directory` through the store's own writer, then runs all upkeep, so that none is left for a
/// server that opens it. Nine of ten records are `owner`'s.
pub(crate) fn fill(directory: &Path, owner: Owner) -> Result<(), Failure> {
    let mut store = state::open(directory)?.store;
    let began = unix_now_ns() - SPAN_NS;
    for first in (0..RECORDS).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(RECORDS);
        let mut batch = Batch::default();
        batch
            .processes
            .extend(numbers.clone().map(|n| process(n, owner, began)));
        // Each batch touches the threads of its commands, as an exec-server does.
        batch
            .threads
            .extend(numbers.take(THREADS as usize).map(|n| thread(n, owner, began)));
        store.write(&batch)?;
    }
    while store.upkeep(unix_now_ns())? == UpkeepProgress::More {}
    Ok(())
}

/// The process id of record `n`. As in a UUIDv7, the first bytes grow with time and the others look random.
pub(crate) fn id(n: u64) -> ProcessId {
    let mut id = records::trace_id(n.wrapping_mul(3));
    id[..8].copy_from_slice(&(n << 8).to_be_bytes());
    ProcessId(id)
}

/// A hash of `n`, so that owner and failure of a record do not correlate with its number.
fn mixed(n: u64) -> u64 {
    u64::from_be_bytes(records::trace_id(n)[..8].try_into().unwrap_or_default()) >> 8
}

/// Whether record `n` belongs to the client that queries.
pub(crate) fn is_own(n: u64) -> bool {
    !mixed(n).is_multiple_of(10)
}

fn owner_of(n: u64, owner: Owner) -> Owner {
    if is_own(n) { owner } else { OTHER_OWNER }
}

fn thread_id(n: u64) -> Arc<str> {
    format!("thread-{}", (mixed(n) / 10) % THREADS).into()
}

fn accepted_at(n: u64, began: u64) -> u64 {
    began + n * (SPAN_NS / RECORDS)
}

fn thread(n: u64, owner: Owner, began: u64) -> ThreadPatch {
    let key = ThreadKey {
        owner: owner_of(n, owner),
        thread_id: thread_id(n),
    };
    ThreadPatch {
        title: Some(Some("a title".into())),
        ..ThreadPatch::touch(key, accepted_at(n, began))
    }
}

fn process(n: u64, owner: Owner, began: u64) -> ProcessPatch {
    let mut patch = records::whole(n);
    patch.key = ProcessKey {
        owner: owner_of(n, owner),
        process_id: id(n),
    };
    let accepted = accepted_at(n, began);
    if let Some(start) = patch.start.as_mut().and_then(Arc::get_mut) {
        start.thread_id = Some(thread_id(n));
        start.accepted_unix_ns = accepted;
    }
    if let Some(spawned) = &mut patch.spawned {
        spawned.spawned_unix_ns = accepted + 300_000;
    }
    if let Some(end) = &mut patch.end {
        let code = i32::from((mixed(n) / 10 / THREADS).is_multiple_of(20));
        end.outcome = Outcome::Exited { code };
        end.ended_unix_ns = accepted + 900_000;
        end.timings = Some(timings(n));
    }
    patch
}

fn timings(n: u64) -> Timings {
    let time = |stage, start_ns, duration_ns| StageTime {
        stage,
        attempt: 0,
        start_ns,
        duration_ns,
    };
    let stages = [
        time(exec::PROCESS, 0, 900_000 + n % 70_000),
        time(exec::PROCESS_SPAWN, 10, 300_000 + n % 50_000),
        time(exec::PROCESS_FIRST_OUTPUT, 300_010, 200_000 + n % 9_000),
        time(exec::PROCESS_STDOUT, 500_010, 300_000 + n % 8_000),
        time(exec::PROCESS_WAIT, 300_010, 590_000 + n % 7_000),
        time(exec::PROCESS_CLOSE, 890_010, 9_000 + n % 1_000),
    ];
    Timings {
        encoded: encode(&stages).into(),
        slowest: Some(SlowestStage {
            stage: exec::PROCESS_WAIT,
            duration_ns: 590_000,
        }),
    }
}
