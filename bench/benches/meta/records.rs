//! Patches like those of an exec-server: a command of three arguments in a directory, with the timings of its call.

use std::sync::Arc;

use baton_metadata::record::{
    Owner, ProcessEnd, ProcessKey, ProcessSpawned, ProcessStart, SlowestStage, ThreadKey, Timings, TraceRef,
};
use baton_metadata::{ProcessPatch, ThreadPatch};
use baton_proto::{Epoch, ProcessId};
use baton_trace::outcome::Outcome;
use baton_trace::record::unix_now_ns;
use baton_trace::stage::exec;

/// The owner of all records.
pub(crate) const OWNER: Owner = Owner([7; 32]);
/// The epoch of all records.
pub(crate) const EPOCH: Epoch = Epoch([9; 16]);
/// The boot id of all records.
pub(crate) const BOOT: [u8; 16] = [5; 16];
/// The command of all records.
pub(crate) const ARGV: [&str; 3] = ["/usr/bin/git", "rev-parse", "--show-toplevel"];
/// The working directory of all records.
pub(crate) const CWD: &str = "/home/user/src/project";
/// Encoded timings of the size of a call with thirteen stages of the exec-server.
pub(crate) const TIMINGS: [u8; 160] = [3; 160];

/// The id of process `n`. Ids grow, as those of UUIDv7.
pub(crate) fn process_id(n: u64) -> ProcessId {
    let mut id = [0xab; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    ProcessId(id)
}

/// The trace id of process `n`. Consecutive ids are not in order.
pub(crate) fn trace_id(n: u64) -> [u8; 16] {
    let mixed = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    mixed.to_be_bytes()
}

pub(crate) fn start(n: u64) -> ProcessPatch {
    let mut patch = ProcessPatch::new(ProcessKey {
        owner: OWNER,
        process_id: process_id(n),
    });
    patch.start = Some(Arc::new(ProcessStart {
        epoch: EPOCH,
        boot_id: BOOT,
        thread_id: Some("thread".into()),
        turn: None,
        step: None,
        argv: ARGV.iter().map(|argument| argument.as_bytes().into()).collect(),
        argv_cut: false,
        cwd: CWD.as_bytes().into(),
        accepted_unix_ns: unix_now_ns(),
        detached: false,
        parameters: [1; 32],
        trace: Some(TraceRef {
            trace_id: trace_id(n),
            sampled: true,
        }),
    }));
    patch
}

pub(crate) fn spawned(n: u64) -> ProcessPatch {
    let mut patch = ProcessPatch::new(start_key(n));
    patch.spawned = Some(ProcessSpawned {
        os_pid: 1_000 + (n % 30_000) as u32,
        start_ticks: n,
        spawned_unix_ns: unix_now_ns(),
    });
    patch.last_seq = 1;
    patch
}

pub(crate) fn end(n: u64) -> ProcessPatch {
    let mut patch = ProcessPatch::new(start_key(n));
    patch.last_seq = 4;
    patch.end = Some(ProcessEnd {
        outcome: Outcome::Exited { code: 0 },
        message: None,
        ended_unix_ns: unix_now_ns(),
        stdout_bytes: 23,
        stderr_bytes: 0,
        family: None,
        timings: Some(Timings {
            encoded: TIMINGS.as_slice().into(),
            slowest: Some(SlowestStage {
                stage: exec::PROCESS_WAIT,
                duration_ns: 1_234_567,
            }),
        }),
    });
    patch
}

/// The end of a process as known at its exit, without timings.
pub(crate) fn exited(n: u64) -> ProcessPatch {
    let mut patch = end(n);
    patch.last_seq = 3;
    if let Some(end) = &mut patch.end {
        end.timings = None;
    }
    patch
}

/// The merged patches of a process: start, spawn and end.
pub(crate) fn whole(n: u64) -> ProcessPatch {
    let mut patch = start(n);
    patch.merge(spawned(n));
    patch.merge(end(n));
    patch
}

/// A patch that changes one of a thread's two values.
pub(crate) fn value(thread: u32, n: u64) -> ThreadPatch {
    let key = ThreadKey {
        owner: OWNER,
        thread_id: format!("thread-{thread}").into(),
    };
    let mut patch = ThreadPatch::touch(key, unix_now_ns());
    let name = if n.is_multiple_of(2) { "status" } else { "step" };
    patch.values.insert(name.into(), Some(format!("{n}").into()));
    patch
}

fn start_key(n: u64) -> ProcessKey {
    ProcessKey {
        owner: OWNER,
        process_id: process_id(n),
    }
}
