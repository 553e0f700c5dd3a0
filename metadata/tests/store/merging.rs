//! Merging patches in rows gives the same result as merging them in memory.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use baton_metadata::record::{CwdFacts, ProcessEnd, ProcessPatch, ProcessSpawned, ThreadPatch, Timings};
use baton_metadata::store::query::ThreadRecord;
use baton_metadata::{Batch, Store};
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::family::{FAMILIES, FamilySummary, Unavailable};
use baton_trace::outcome::{Loss, Outcome, StartFailure};
use proptest::prelude::*;

use crate::support::{NOW, SECOND, TestStateDirectory, key, start, thread_key, write};

fn family() -> impl Strategy<Value = FamilySummary> {
    let reason = || proptest::option::of(proptest::sample::select(&Unavailable::ALL[..]));
    let families: Vec<_> = FAMILIES.iter().map(|def| def.family).collect();
    let parts = (
        proptest::sample::select(families),
        [reason(), reason(), reason()],
        any::<u64>(),
    );
    parts.prop_map(|(family, unavailable, remainder_ns)| FamilySummary {
        family,
        unavailable,
        remainder_ns,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let exit = proptest::option::of(prop_oneof![
        (0..256).prop_map(CommandExit::Code),
        (1..64).prop_map(CommandExit::Signal)
    ]);
    let by = proptest::option::of(proptest::sample::select(
        CallEnd::ALL
            .into_iter()
            .filter(|end| *end != CallEnd::Deadline)
            .collect::<Vec<_>>(),
    ));
    prop_oneof![
        (0..256).prop_map(|code| Outcome::Exited { code }),
        (1..64, any::<bool>()).prop_map(|(signal, core_dumped)| Outcome::Signaled { signal, core_dumped }),
        exit.clone().prop_map(|exit| Outcome::TimedOut { exit }),
        exit.clone().prop_map(|exit| Outcome::OutOfMemory { exit }),
        (by, exit).prop_map(|(by, exit)| Outcome::Killed { by, exit }),
        proptest::sample::select(&StartFailure::ALL[..]).prop_map(Outcome::FailedToStart),
        Just(Outcome::Lost(Loss::Server)),
    ]
}

fn bytes() -> impl Strategy<Value = Box<[u8]>> {
    prop_oneof![
        "[a-zé\" \\\\/]{0,8}".prop_map(|text| text.into_bytes().into()),
        proptest::collection::vec(1..=255_u8, 0..8).prop_map(Into::into),
    ]
}

fn process() -> impl Strategy<Value = ProcessPatch> {
    let argv = proptest::collection::vec(bytes(), 0..4);
    let begun = proptest::option::of((
        argv,
        bytes(),
        0..99_u64,
        any::<bool>(),
        proptest::option::of("[ab]{1,3}"),
        (proptest::option::of(1..4_u64), proptest::option::of("[cd]")),
        any::<bool>(),
    ));
    let spawned = proptest::option::of((1..9_u32, 0..9_u64));
    let end = proptest::option::of((
        outcome(),
        proptest::option::of("[a-z]{0,5}"),
        proptest::option::of(bytes()),
        proptest::option::of(family()),
    ));
    (0..3_u64, begun, spawned, 0..5_u64, end).prop_map(|(n, begun, spawned, last_seq, end)| ProcessPatch {
        start: begun.map(|(argv, cwd, at, detached, thread, (turn, step), traced)| {
            let mut start = start(at);
            start.argv = argv.into();
            start.cwd = cwd;
            start.detached = detached;
            start.argv_cut = detached;
            start.thread_id = thread.map(Arc::from);
            start.turn = turn.and_then(NonZeroU64::new);
            start.step = step.map(String::into_boxed_str);
            start.trace = start.trace.filter(|_| traced);
            Arc::new(start)
        }),
        spawned: spawned.map(|(os_pid, start_ticks)| ProcessSpawned {
            os_pid,
            start_ticks,
            spawned_unix_ns: NOW + start_ticks,
        }),
        last_seq,
        end: end.map(|(outcome, message, timings, family)| ProcessEnd {
            outcome,
            message: message.map(String::into_boxed_str),
            ended_unix_ns: NOW + SECOND,
            stdout_bytes: last_seq,
            stderr_bytes: 1,
            family,
            timings: timings.map(|encoded| Timings {
                encoded: Arc::from(encoded),
                slowest: None,
            }),
        }),
        ..ProcessPatch::new(key(n))
    })
}

fn thread() -> impl Strategy<Value = ThreadPatch> {
    let title = proptest::option::of(proptest::option::of("[a-c]{0,3}"));
    let values = proptest::collection::btree_map("[a-c]", proptest::option::of("[x-z]{0,2}"), 0..3);
    let facts = proptest::option::of((
        bytes(),
        proptest::option::of(bytes()),
        proptest::option::of("[0-9a-f]{4}"),
    ));
    let deletes = prop_oneof![4 => Just((false, true)), 1 => Just((true, false)), 1 => Just((true, true))];
    (
        0..3_u64,
        deletes,
        title,
        values,
        proptest::option::of(any::<bool>()),
        facts,
        0..9_u64,
    )
        .prop_map(|(n, (delete, exists), title, values, archived, facts, at)| {
            let key = thread_key(&format!("thread {n}"));
            if delete && !exists {
                return ThreadPatch::delete(key, NOW + at);
            }
            let boxed = |(key, value): (String, Option<String>)| (key.into(), value.map(Into::into));
            ThreadPatch {
                delete,
                exists,
                title: title.map(|title| title.map(Into::into)),
                values: values.into_iter().map(boxed).collect(),
                archived,
                facts: facts.map(|(cwd, root, head)| {
                    Arc::new(CwdFacts {
                        cwd,
                        branch: root.clone(),
                        repository_root: root,
                        head: head.map(Into::into),
                        found_unix_ns: NOW,
                    })
                }),
                ..ThreadPatch::touch(key, NOW + at)
            }
        })
}

/// A batch with one merged patch per key, as the writer makes of queued patches.
fn coalesce(patches: &[(ProcessPatch, ThreadPatch)]) -> Batch {
    let mut batch = Batch::default();
    for (process, thread) in patches.iter().cloned() {
        match batch
            .processes
            .iter_mut()
            .find(|queued| queued.key == process.key)
        {
            Some(queued) => queued.merge(process),
            None => batch.processes.push(process),
        }
        match batch.threads.iter_mut().find(|queued| queued.key == thread.key) {
            Some(queued) => queued.merge(thread),
            None => batch.threads.push(thread),
        }
    }
    batch
}

/// The thread after these patches, in order.
fn thread_after(patches: &[ThreadPatch]) -> Option<ThreadRecord> {
    let mut thread: Option<ThreadRecord> = None;
    for patch in patches {
        if patch.delete {
            thread = None;
        }
        if !patch.exists {
            continue;
        }
        let thread = thread.get_or_insert_with(|| ThreadRecord {
            key: patch.key.clone(),
            title: None,
            values: BTreeMap::new(),
            archived: false,
            created_unix_ns: patch.at_unix_ns,
            updated_unix_ns: patch.at_unix_ns,
            facts: None,
        });
        thread.updated_unix_ns = thread.updated_unix_ns.max(patch.at_unix_ns);
        if let Some(title) = &patch.title {
            thread.title = title.as_deref().map(str::to_owned);
        }
        for (key, value) in &patch.values {
            match value {
                Some(value) => thread.values.insert(key.to_string(), value.to_string()),
                None => thread.values.remove(&**key),
            };
        }
        thread.archived = patch.archived.unwrap_or(thread.archived);
        if let Some(facts) = &patch.facts {
            thread.facts = Some(CwdFacts::clone(facts));
        }
    }
    thread
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Holds for every split of the patches into batches, and for batches that are written twice.
    #[test]
    fn rows_equal_the_patches_applied_in_order(
        patches in proptest::collection::vec((process(), thread()), 1..12),
        sizes in proptest::collection::vec(1..4_usize, 12),
        again in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let state = TestStateDirectory::new();
        let mut opened = state.open();
        let mut rest = &patches[..];
        for (size, again) in sizes.iter().zip(again) {
            let (some, others) = rest.split_at((*size).min(rest.len()));
            rest = others;
            let batch = coalesce(some);
            opened.store.write(&batch).unwrap();
            if again {
                opened.store.write(&batch).unwrap();
            }
        }
        for n in 0..3 {
            let mut all = patches.iter().map(|(process, _)| process).filter(|patch| patch.key == key(n)).cloned();
            let expected = all.next().map(|first| all.fold(first, |mut merged, later| { merged.merge(later); merged }));
            let record = opened.reader.process(&key(n)).unwrap();
            prop_assert_eq!(record.map(|record| record.patch), expected.filter(|_| rest.is_empty()));

            let name = thread_key(&format!("thread {n}"));
            let all: Vec<_> = patches.iter().map(|(_, thread)| thread.clone()).filter(|patch| patch.key == name).collect();
            let mut thread = opened.reader.thread(&name).unwrap();
            let mut expected = thread_after(&all);
            // A change that was merged with an earlier deletion has the later of the two times, which the rows do not
            // have.
            let deleted = all.iter().any(|patch| patch.delete);
            for thread in [&mut thread, &mut expected].into_iter().flatten() {
                thread.created_unix_ns = 0;
                thread.updated_unix_ns *= u64::from(!deleted);
            }
            prop_assert_eq!(thread, expected);
        }
    }
}

#[test]
fn a_late_lost_outcome_does_not_replace_a_known_end() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let seen = crate::support::ok(1);
    let late = ProcessPatch {
        end: Some(crate::support::end(5, Outcome::Lost(Loss::Server))),
        last_seq: 2,
        ..ProcessPatch::new(key(1))
    };
    write(&mut opened.store, [seen.clone()]);
    write(&mut opened.store, [late]);
    assert_eq!(opened.reader.process(&key(1)).unwrap().unwrap().patch, seen);
}

#[test]
fn a_row_has_no_columns_of_the_previous_row() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let mut nul = start(3);
    nul.thread_id = Some("a\0b".into());
    nul.cwd = b"/not\xffutf-8"[..].into();
    let nul = ProcessPatch {
        start: Some(Arc::new(nul)),
        ..ProcessPatch::new(key(3))
    };
    let mut faulty = crate::support::finished(4, Outcome::FailedToStart(StartFailure::BadCwd));
    faulty.end.as_mut().unwrap().message = Some("a message".into());
    let mut bare = crate::support::finished(5, Outcome::Lost(Loss::Server));
    bare.end.as_mut().unwrap().timings = None;
    bare.spawned = None;
    // Adjacent patches have different members.
    let rows = [
        crate::support::ok(1),
        ProcessPatch::new(key(2)),
        nul,
        faulty,
        bare,
        crate::support::ok(6),
        crate::support::ok(7),
    ];
    write(&mut opened.store, rows.clone());
    for row in rows {
        let record = opened.reader.process(&row.key).unwrap();
        assert_eq!(record.map(|record| record.patch), Some(row));
    }
}
