//! Queries: filters, pages and names.

use std::num::NonZeroU64;
use std::sync::Arc;

use baton_metadata::ThreadPatch;
use baton_metadata::limits::VALUES_PER_THREAD;
use baton_metadata::record::{Owner, ProcessKey, ProcessPatch};
use baton_metadata::store::query::{Cursor, FoundRecords, HistoryQuery, Page, ProcessRecord, ThreadsQuery};
use baton_metadata::store::sqlite::{OpenedStore, Reader};
use baton_proto::ProcessId;
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::outcome::{Fault, Loss, Outcome, OutcomeKind, StartFailure};
use rand::RngExt;

use crate::support::{
    ME, NOW, OTHER, SECOND, TestStateDirectory, batch, finished, id, ids, key, ok, seeded, start, started,
    thread_key, titled, trace_id, write,
};
use baton_metadata::Store;

fn all_pages(reader: &Reader, mut query: HistoryQuery) -> Vec<ProcessRecord> {
    let mut records = Vec::new();
    loop {
        let page: Page<ProcessRecord> = reader.history(&query).unwrap();
        assert!(page.items.len() <= query.limit as usize);
        records.extend(page.items);
        match page.next {
            // Encoded and decoded, as by a caller.
            Some(next) => query.after = Some(Cursor::from_bytes(next.to_bytes())),
            None => return records,
        }
    }
}

#[test]
fn every_filter_and_page_size_gives_the_model_s_answer() {
    let mut random = seeded();
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let threads = [None, Some("a"), Some("b")];
    let mut model = Vec::new();
    for n in 0..300_u64 {
        let outcome = match random.random_range(0..10) {
            4 => Outcome::Lost(Loss::Server),
            5 => Outcome::of_exit(CommandExit::Code(0), false, false, Some(CallEnd::Reset)),
            6 => Outcome::of_exit(CommandExit::Code(0), false, false, Some(CallEnd::ShutDown)),
            7 => Outcome::FailedToStart(StartFailure::BadCwd),
            8 => Outcome::FailedToStart(StartFailure::TooManyProcesses),
            0 => Outcome::Exited { code: 1 },
            1 => Outcome::Signaled {
                signal: 9,
                core_dumped: false,
            },
            _ => Outcome::Exited { code: 0 },
        };
        let mut start = start(0);
        // Many starts have equal times.
        start.accepted_unix_ns = NOW + random.random_range(0..20) * SECOND;
        start.thread_id = threads[random.random_range(0..3)].map(Arc::from);
        let patch = ProcessPatch {
            start: Some(Arc::new(start)),
            key: ProcessKey {
                owner: if random.random_range(0..5) == 0 { OTHER } else { ME },
                process_id: id(n),
            },
            ..finished(n, outcome)
        };
        let is_running = random.random_range(0..5) == 0;
        let patch = if is_running {
            ProcessPatch { end: None, ..patch }
        } else {
            patch
        };
        write(&mut opened.store, [patch.clone()]);
        model.push(patch);
    }
    for owner in [ME, OTHER] {
        for thread_id in threads {
            for since in [None, Some(NOW + 7 * SECOND)] {
                for (failed, kinds, faults) in [
                    (false, &[][..], &[][..]),
                    (true, &[], &[]),
                    (false, &[OutcomeKind::Exited], &[]),
                    (true, &[OutcomeKind::Exited, OutcomeKind::Lost], &[]),
                    (
                        false,
                        &[OutcomeKind::Killed, OutcomeKind::Signaled, OutcomeKind::Killed],
                        &[],
                    ),
                    (false, &[], &[Fault::Caller]),
                    (true, &[], &[Fault::Caller]),
                    (false, &[], &[Fault::Command, Fault::Limit]),
                    (false, &[], &[Fault::Network]),
                    (false, &[OutcomeKind::Killed], &[Fault::Server, Fault::Caller]),
                    (false, &[], &Fault::ALL),
                ] {
                    let begun = |patch: &ProcessPatch| patch.start.as_ref().unwrap().accepted_unix_ns;
                    let mut expected: Vec<_> = model
                        .iter()
                        .enumerate()
                        .filter(|(_, patch)| patch.key.owner == owner)
                        .filter(|(_, patch)| {
                            thread_id.is_none_or(|id| {
                                patch.start.as_ref().unwrap().thread_id.as_deref() == Some(id)
                            })
                        })
                        .filter(|(_, patch)| since.is_none_or(|since| begun(patch) >= since))
                        .filter(|(_, patch)| {
                            !failed || patch.end.as_ref().is_some_and(|end| end.outcome.is_failure())
                        })
                        .filter(|(_, patch)| {
                            let kind = patch.end.as_ref().map(|end| end.outcome.kind());
                            kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(&kind))
                        })
                        .filter(|(_, patch)| {
                            let fault = patch.end.as_ref().and_then(|end| end.outcome.fault());
                            faults.is_empty() || fault.is_some_and(|fault| faults.contains(&fault))
                        })
                        .collect();
                    expected.sort_by_key(|(at, patch)| std::cmp::Reverse((begun(patch), *at)));
                    let expected: Vec<_> = expected.iter().map(|(_, patch)| patch.key.process_id).collect();
                    for limit in [1, 7, 1_000] {
                        let records = all_pages(
                            &opened.reader,
                            HistoryQuery {
                                thread_id: thread_id.map(str::to_owned),
                                since_unix_ns: since,
                                failed,
                                outcomes: kinds.to_vec(),
                                faults: faults.to_vec(),
                                limit,
                                ..HistoryQuery::of(owner)
                            },
                        );
                        let answer: Vec<_> =
                            records.iter().map(|record| record.patch.key.process_id).collect();
                        assert_eq!(
                            answer, expected,
                            "{owner:?} {thread_id:?} {since:?} {failed} {kinds:?} {faults:?} {limit}"
                        );
                    }
                }
            }
        }
    }
}

/// The sets of conditions on turn and step, each with every thread.
#[test]
fn a_turn_and_a_step_select_their_records_in_one_thread_and_in_all() {
    let mut random = seeded();
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let (threads, steps) = ([None, Some("a"), Some("b")], [None, Some("1"), Some("2")]);
    let mut model = Vec::new();
    for n in 0..300_u64 {
        let mut patch = finished(
            n,
            Outcome::Exited {
                code: random.random_range(0..2),
            },
        );
        let start = Arc::make_mut(patch.start.as_mut().unwrap());
        // Many starts have equal times.
        start.accepted_unix_ns = NOW + random.random_range(0..20) * SECOND;
        start.thread_id = threads[random.random_range(0..3)].map(Arc::from);
        start.turn = NonZeroU64::new(random.random_range(0..3));
        start.step = steps[random.random_range(0..3)].map(Box::from);
        write(&mut opened.store, [patch.clone()]);
        model.push(patch);
    }
    for (thread, turn, step) in threads
        .into_iter()
        .flat_map(|thread| (0..4).map(move |turn| (thread, NonZeroU64::new(turn))))
        .flat_map(|(thread, turn)| steps.map(|step| (thread, turn, step)))
    {
        for (failed, limit) in [(false, 1_000), (false, 3), (true, 7)] {
            let asked = |patch: &&ProcessPatch| {
                let start = patch.start.as_ref().unwrap();
                thread.is_none_or(|thread| start.thread_id.as_deref() == Some(thread))
                    && turn.is_none_or(|turn| start.turn == Some(turn))
                    && step.is_none_or(|step| start.step.as_deref() == Some(step))
                    && (!failed || patch.end.as_ref().unwrap().outcome.is_failure())
            };
            let mut expected: Vec<_> = model.iter().filter(asked).collect();
            expected.reverse();
            expected.sort_by_key(|patch| std::cmp::Reverse(patch.start.as_ref().unwrap().accepted_unix_ns));
            let answer = all_pages(
                &opened.reader,
                HistoryQuery {
                    thread_id: thread.map(str::to_owned),
                    turn,
                    step: step.map(str::to_owned),
                    failed,
                    limit,
                    ..HistoryQuery::of(ME)
                },
            );
            let ids = |patch: &ProcessPatch| {
                let start = patch.start.clone().unwrap();
                (patch.key.process_id, start.turn, start.step.clone())
            };
            let answer: Vec<_> = answer.iter().map(|record| ids(&record.patch)).collect();
            let expected: Vec<_> = expected.into_iter().map(ids).collect();
            assert_eq!(answer, expected, "{thread:?} {turn:?} {step:?} {failed} {limit}");
        }
    }
}

#[test]
fn records_written_between_two_pages_do_not_shift_them() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, (0..10).map(ok));
    let query = HistoryQuery {
        limit: 5,
        ..HistoryQuery::of(ME)
    };
    let first = opened.reader.history(&query).unwrap();
    write(&mut opened.store, (20..30).map(ok));
    let second = opened
        .reader
        .history(&HistoryQuery {
            after: first.next,
            ..query
        })
        .unwrap();
    let both: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|record| record.patch.key.process_id)
        .collect();
    assert_eq!(both, (0..10).rev().map(id).collect::<Vec<_>>());
    assert_eq!(second.next, None);
}

#[test]
fn a_page_has_at_least_one_and_at_most_a_thousand() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, (0..1_100).map(ok));
    for (limit, expected) in [(0, 1), (u32::MAX, 1_000)] {
        let page = opened
            .reader
            .history(&HistoryQuery {
                limit,
                ..HistoryQuery::of(ME)
            })
            .unwrap();
        assert_eq!(page.items.len(), expected);
        assert!(page.next.is_some());
    }
}

fn found(opened: &OpenedStore, owner: Owner, name: &str) -> Vec<ProcessId> {
    match opened.reader.find(owner, name).unwrap() {
        FoundRecords::Nothing => Vec::new(),
        FoundRecords::One(record) => {
            assert!(
                record
                    .patch
                    .end
                    .as_ref()
                    .unwrap()
                    .timings
                    .as_ref()
                    .is_some_and(|timings| !timings.encoded.is_empty())
            );
            vec![record.patch.key.process_id]
        }
        FoundRecords::Several(records) => records.iter().map(|record| record.patch.key.process_id).collect(),
    }
}

#[test]
fn a_process_is_found_by_its_id_an_id_prefix_and_its_trace() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    // More than one bucket of the index over trace ids.
    for first in (0..20_000).step_by(1_000) {
        write(&mut opened.store, (first..first + 1_000).map(ok));
    }
    for n in [0, 5, 16_383, 16_384, 19_999] {
        assert_eq!(found(&opened, ME, &id(n).to_string()), [id(n)]);
        let trace: String = trace_id(n).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found(&opened, ME, &trace), [id(n)], "{n}");
        assert_eq!(found(&opened, OTHER, &trace), []);
        assert_eq!(found(&opened, OTHER, &id(n).to_string()), []);
    }
    // 0x4e1f is 19,999, the only id with these 16 digits. The ids 0x4e10 to 0x4e1f share the first 15.
    assert_eq!(found(&opened, ME, "0000000000004e1f"), [id(19_999)]);
    assert_eq!(found(&opened, ME, "00000000-0000-4E1F"), [id(19_999)]);
    assert_eq!(
        found(&opened, ME, "000000000000-4e1"),
        (0x4e10..=0x4e1f).rev().map(id).collect::<Vec<_>>()
    );
    assert_eq!(found(&opened, ME, "0").len(), 20);
    for nothing in ["", "-", "xyz", "1", &"0".repeat(33), "é"] {
        assert_eq!(found(&opened, ME, nothing), [], "{nothing:?}");
    }
}

#[test]
fn a_trace_of_several_processes_shows_them_all() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let of_one_trace = |n| {
        let mut patch = ok(n);
        let start = Arc::make_mut(patch.start.as_mut().unwrap());
        start.trace.as_mut().unwrap().trace_id = [0xab; 16];
        patch
    };
    write(&mut opened.store, (0..3).map(of_one_trace));
    assert_eq!(found(&opened, ME, &"ab".repeat(16)), [2, 1, 0].map(id));
}

#[test]
fn a_start_is_known_by_its_id_before_and_after_its_end_and_after_a_restart() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    assert_eq!(opened.reader.process(&key(1)).unwrap(), None);
    write(&mut opened.store, [started(1)]);
    assert_eq!(opened.reader.process(&key(1)).unwrap().unwrap().patch, started(1));
    write(
        &mut opened.store,
        [ProcessPatch {
            end: ok(1).end,
            ..ProcessPatch::new(key(1))
        }],
    );
    drop(opened);
    let record = state.open().reader.process(&key(1)).unwrap().unwrap();
    assert_eq!(
        record.patch,
        ProcessPatch {
            end: ok(1).end,
            ..started(1)
        }
    );
    assert_eq!((record.begun_unix_ns, record.survivor), (NOW + SECOND, None));
}

#[test]
fn a_thread_keeps_so_many_keys_and_takes_no_more_until_some_go() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let mut set = |keys: &[String], value: Option<&str>| {
        let mut patch = ThreadPatch::touch(thread_key("t"), NOW);
        let values = keys
            .iter()
            .map(|key| (key.as_str().into(), value.map(Into::into)));
        patch.values = values.collect();
        write(&mut opened.store, [patch]);
        let thread = opened.reader.thread(&thread_key("t")).unwrap().unwrap();
        thread.values
    };
    let keys = |from: usize, to: usize| (from..to).map(|n| format!("{n:03}")).collect::<Vec<_>>();
    for from in (0..VALUES_PER_THREAD - 64).step_by(64) {
        set(&keys(from, from + 64), Some("x"));
    }
    let full = set(&keys(VALUES_PER_THREAD - 64, VALUES_PER_THREAD + 9), Some("x"));
    assert!(full.keys().eq(&keys(0, VALUES_PER_THREAD)));
    let changed = set(&keys(0, 1), Some("y"));
    assert_eq!(
        (changed.len(), &*changed["000"]),
        (VALUES_PER_THREAD, "y"),
        "an existing value was not changed"
    );
    // A patch that removes one value and sets another, whose key sorts after or before it.
    for (goes, comes) in [("000", "zzz"), ("zzz", "aaa")] {
        let mut patch = ThreadPatch::touch(thread_key("t"), NOW);
        patch.values = [(goes.into(), None), (comes.into(), Some("x".into()))].into();
        write(&mut opened.store, [patch]);
        let values = opened.reader.thread(&thread_key("t")).unwrap().unwrap().values;
        assert_eq!(values.len(), VALUES_PER_THREAD);
        assert!(
            values.contains_key(comes) && !values.contains_key(goes),
            "{comes}"
        );
    }
}

#[test]
fn threads_are_listed_by_last_use_and_archived_ones_apart() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let at = |name: &str, at: u64| ThreadPatch {
        at_unix_ns: NOW + at,
        ..titled(name, name)
    };
    write(
        &mut opened.store,
        [at("a", 1), at("b", 2), at("c", 3), at("d", 4)],
    );
    write(&mut opened.store, [at("a", 9)]);
    write(
        &mut opened.store,
        [ThreadPatch {
            archived: Some(true),
            ..at("b", 5)
        }],
    );
    write(&mut opened.store, [ThreadPatch::delete(thread_key("c"), NOW + 6)]);
    let list = |archived, limit, after| {
        let page = opened
            .reader
            .threads(&ThreadsQuery {
                owner: ME,
                archived,
                after,
                limit,
            })
            .unwrap();
        let names: Vec<_> = page
            .items
            .iter()
            .map(|thread| thread.key.thread_id.to_string())
            .collect();
        (names, page.next)
    };
    assert_eq!(
        list(false, 10, None),
        (vec!["a".to_owned(), "d".to_owned()], None)
    );
    assert_eq!(list(true, 10, None), (vec!["b".to_owned()], None));
    let (first, next) = list(false, 1, None);
    assert_eq!(
        (first, list(false, 1, next)),
        (vec!["a".to_owned()], (vec!["d".to_owned()], None))
    );
    assert_eq!(opened.reader.thread(&thread_key("c")).unwrap(), None);
    assert_eq!(
        opened
            .reader
            .threads(&ThreadsQuery {
                owner: OTHER,
                archived: false,
                after: None,
                limit: 9
            })
            .unwrap()
            .items,
        []
    );
}

#[test]
fn a_reader_sees_each_commit_and_does_not_block_the_writer() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    let reader = opened.reader.clone();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reading = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut seen = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let page = reader.history(&HistoryQuery::of(ME)).unwrap();
                assert!(page.items.len() >= seen, "a committed record disappeared");
                seen = page.items.len();
            }
        }
    });
    for n in 0..100 {
        opened.store.write(&batch([ok(n)])).unwrap();
        assert_eq!(ids(&opened).len() as u64, n + 1);
    }
    done.store(true, std::sync::atomic::Ordering::Release);
    reading.join().unwrap();
}

/// Checks the query plans. A full table scan would be fast here, but slow with a million records.
#[test]
fn every_query_uses_an_index() {
    let state = TestStateDirectory::new();
    let mut opened = state.open();
    write(&mut opened.store, (0..10).map(ok));
    // A missing index would show as a temporary b-tree or as a SCAN.
    let connection = rusqlite::Connection::open(state.database()).unwrap();
    for query in [
        "select * from processes where owner = 1 and begun_ns >= 5 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and failed = 1 and begun_ns >= 5 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and thread = 'a' and begun_ns >= 5 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and thread = 'a' and failed = 1 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and turn = 2 and begun_ns >= 5 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and thread = 'a' and turn = 2 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and step = 's' and begun_ns >= 5 order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and thread = 'a' and step = 's' order by begun_ns desc, n desc",
        "select * from processes where owner = 1 and id between x'00' and x'ff' order by id desc",
        "select * from processes where n >> 14 = 0 and trace_id = x'00' order by n desc",
        "select * from processes where outcome is null",
        "select * from threads where owner = 1 and archived = 0 order by updated_ns desc, n desc",
    ] {
        let mut explain = connection
            .prepare(&format!("explain query plan {query}"))
            .unwrap();
        let plan: Vec<String> = explain
            .query_map([], |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(
            plan.iter()
                .all(|step| step.starts_with("SEARCH") || step.contains("processes_running")),
            "{query}: {plan:?}"
        );
    }
}
