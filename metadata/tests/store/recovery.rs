//! Recovery of the processes and records of a server that was killed.

use std::io::Read as _;
use std::os::unix::process::{CommandExt, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use baton_metadata::Metadata;
use baton_metadata::limits::SURVIVOR_GRACE;
use baton_metadata::record::{ProcessPatch, ProcessSpawned};
use baton_metadata::store::boot;
use baton_metadata::store::query::{HistoryQuery, SurvivorFate};
use baton_metadata::store::sqlite::{self, OpenedStore, Survivor};
use baton_trace::outcome::{Loss, Outcome, StartFailure};
use baton_trace::recorder::Recorder;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{ME, NOW, SECOND, TestStateDirectory, end, ids, key, ok, start, started, write};

fn opened(state: &TestStateDirectory, kill: &mut dyn FnMut(&[Survivor])) -> OpenedStore {
    let mut options = state.options();
    options.now_unix_ns = NOW + 100 * SECOND;
    sqlite::open(&options, kill).unwrap()
}

/// A process in its own process group, as the exec-server starts them.
fn child() -> (Child, ProcessSpawned) {
    let child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    let spawned = ProcessSpawned {
        os_pid: child.id(),
        start_ticks: boot::process_started(child.id()).unwrap(),
        spawned_unix_ns: NOW,
    };
    (child, spawned)
}

fn running(n: u64, spawned: ProcessSpawned, detached: bool) -> ProcessPatch {
    let mut start = start(n);
    start.detached = detached;
    ProcessPatch {
        start: Some(Arc::new(start)),
        spawned: Some(spawned),
        last_seq: 7,
        ..started(n)
    }
}

#[test]
fn running_processes_become_lost_and_finished_ones_do_not() {
    let state = TestStateDirectory::new();
    let mut first = state.open();
    let gone = ProcessSpawned {
        os_pid: 4_000_000,
        start_ticks: 5,
        spawned_unix_ns: NOW,
    };
    write(&mut first.store, [ok(1), running(2, gone, false), started(3)]);
    drop(first);
    let second = opened(&state, &mut |survivor| panic!("{survivor:?}"));
    assert_eq!(second.recovered.lost, 2);
    let record = |n| second.reader.process(&key(n)).unwrap().unwrap();
    assert_eq!(record(1).patch, ok(1));
    for (n, seq) in [(2, 7), (3, 0)] {
        let lost = record(n);
        let end = lost.patch.end.unwrap();
        assert_eq!(
            (end.outcome, lost.patch.last_seq, lost.survivor),
            (Outcome::Lost(Loss::Server), seq, None)
        );
        assert_eq!(end.ended_unix_ns, NOW + 100 * SECOND);
        assert_eq!(end.message.as_deref(), Some("the server ended first"));
    }
    let failed = HistoryQuery {
        failed: true,
        ..HistoryQuery::of(ME)
    };
    assert_eq!(second.reader.history(&failed).unwrap().items.len(), 2);
    drop(second);
    assert_eq!(opened(&state, &mut |_| {}).recovered.lost, 0, "once");
}

#[test]
fn a_start_that_was_refused_and_repeated_counts_as_running() {
    let state = TestStateDirectory::new();
    let mut first = state.open();
    let (mut child, spawned) = child();
    let refused = ProcessPatch {
        end: Some(end(1, Outcome::FailedToStart(StartFailure::BadCwd))),
        ..started(1)
    };
    let again = running(1, spawned, false);
    write(&mut first.store, [refused]);
    write(&mut first.store, [again.clone()]);
    let record = first.reader.process(&key(1)).unwrap().unwrap();
    assert_eq!(record.patch, again, "the refused start was not replaced");
    drop(first);
    let mut handed = 0;
    let second = opened(&state, &mut |survivors| handed += survivors.len());
    assert_eq!((handed, second.recovered.lost), (1, 1));
    let record = second.reader.process(&key(1)).unwrap().unwrap();
    assert_eq!(
        record.patch.end.unwrap().outcome,
        Outcome::Lost(Loss::Server),
        "`FailedToStart` would allow it to run again"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn survivors_are_killed_unless_detached() {
    let state = TestStateDirectory::new();
    let mut first = state.open();
    let (mut stays, detached) = child();
    let (mut dies, attached) = child();
    write(
        &mut first.store,
        [running(1, detached, true), running(2, attached, false)],
    );
    drop(first);
    let mut killed = Vec::new();
    let second = opened(&state, &mut |survivors| {
        for survivor in survivors {
            let group = Pid::from_raw(survivor.os_pid.cast_signed()).unwrap();
            kill_process_group(group, Signal::KILL).unwrap();
        }
        killed.extend_from_slice(survivors);
    });
    assert!(!dies.wait().unwrap().success());
    assert_eq!(stays.try_wait().unwrap(), None, "the detached process has ended");
    stays.kill().unwrap();
    stays.wait().unwrap();
    assert_eq!(second.recovered.killed, killed);
    assert_eq!(
        killed.iter().map(|survivor| survivor.key).collect::<Vec<_>>(),
        [key(2)]
    );
    assert_eq!(
        second
            .recovered
            .left
            .iter()
            .map(|survivor| survivor.key)
            .collect::<Vec<_>>(),
        [key(1)]
    );
    let survivor = |n| second.reader.process(&key(n)).unwrap().unwrap().survivor;
    assert_eq!(
        (survivor(1), survivor(2)),
        (Some(SurvivorFate::Left), Some(SurvivorFate::Killed))
    );
}

#[test]
fn all_survivors_that_ignore_sigterm_share_one_grace_period() {
    let state = TestStateDirectory::new();
    let mut first = state.open();
    let mut children: Vec<Child> = (0..16)
        .map(|_| {
            let mut child = Command::new("sh");
            child.args(["-c", "trap '' TERM; echo ready; sleep 600"]);
            child.process_group(0).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (n, child) in (0..).zip(&mut children) {
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let spawned = ProcessSpawned {
            os_pid: child.id(),
            start_ticks: boot::process_started(child.id()).unwrap(),
            spawned_unix_ns: NOW,
        };
        write(&mut first.store, [running(n, spawned, false)]);
    }
    drop(first);
    let began = Instant::now();
    let (_metadata, report) = Metadata::open(&state.options(), Recorder::off()).unwrap();
    let took = began.elapsed();
    assert_eq!(report.recovered.killed.len(), children.len());
    assert!(took >= SURVIVOR_GRACE && took < 8 * SURVIVOR_GRACE, "{took:?}");
    for mut child in children {
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }
}

#[test]
fn another_process_with_the_same_pid_is_not_killed() {
    let state = TestStateDirectory::new();
    let mut first = state.open();
    let (mut other, spawned) = child();
    // The same pid with another start time, and the same pid of another boot.
    let earlier = ProcessSpawned {
        start_ticks: spawned.start_ticks - 1,
        ..spawned
    };
    let mut of_another_boot = running(2, spawned, false);
    let start = Arc::make_mut(of_another_boot.start.as_mut().unwrap());
    start.boot_id[0] ^= 1;
    start.epoch.0[0] ^= 1;
    write(&mut first.store, [running(1, earlier, false), of_another_boot]);
    drop(first);
    let second = opened(&state, &mut |survivor| panic!("{survivor:?}"));
    assert_eq!(second.recovered.lost, 2);
    assert_eq!(other.try_wait().unwrap(), None);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_survivor_is_reported_again_if_the_server_dies_while_it_kills() {
    let state = TestStateDirectory::new();
    let mut first = state.open();
    let (mut child, spawned) = child();
    write(&mut first.store, [running(1, spawned, false)]);
    drop(first);
    let dies = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        opened(&state, &mut |_| panic!("killed itself"))
    }));
    assert!(dies.is_err());
    let mut handed = 0;
    let second = opened(&state, &mut |survivors| handed += survivors.len());
    assert_eq!((handed, second.recovered.lost), (1, 1));
    assert_eq!(ids(&second).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}
