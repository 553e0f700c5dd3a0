//! The machine against a [`model`]: every short schedule, and long ones at random.

mod model;

use std::env;
use std::sync::Arc;
use std::time::Instant;

use baton_proto::{Epoch, ProcessId};
use proptest::prelude::*;

use self::model::{Model, ModelKey, Operation, POISON, update};
use super::*;
use crate::limits::ENTRY_BYTES;
use crate::record::{Argv, ProcessStart};

const WIDE: QueueBounds = QueueBounds {
    process_bytes: 1 << 20,
    thread_bytes: 1 << 20,
};

/// Room for three processes, and for about as many threads.
const NARROW: QueueBounds = QueueBounds {
    process_bytes: 3 * ENTRY_BYTES + 100,
    thread_bytes: 3 * ENTRY_BYTES + 600,
};

/// Every schedule of `ops` up to a length. Returns how many there were.
fn exhaust(model: &Model, ops: &[Operation], depth: usize, path: &mut Vec<Operation>) -> u64 {
    let mut count = 1;
    if depth == 0 {
        model.clone().recover();
        return count;
    }
    for &op in ops {
        if !model.is_possible(op) {
            continue;
        }
        let mut next = model.clone();
        path.push(op);
        let shown = ScheduleOnPanic(path);
        next.apply(op);
        std::mem::forget(shown);
        count += exhaust(&next, ops, depth - 1, path);
        path.pop();
    }
    count
}

/// Prints the schedule that a panic is thrown in.
struct ScheduleOnPanic<'a>(&'a [Operation]);

impl Drop for ScheduleOnPanic<'_> {
    fn drop(&mut self) {
        eprintln!("schedule: {:?}", self.0);
    }
}

fn deeper(depth: usize) -> usize {
    depth + usize::from(env::var_os("BATON_TEST_FULL").is_some())
}

#[test]
fn every_short_schedule_of_two_threads_and_a_failing_disk_agrees_with_the_model() {
    let ops = [
        Operation::Thread(0),
        Operation::Thread(1),
        Operation::Flush,
        Operation::Durable,
        Operation::Begin,
        Operation::Succeed,
        Operation::Fail,
    ];
    for batch in [1, 2] {
        let count = exhaust(&Model::new(WIDE, batch), &ops, deeper(6), &mut Vec::new());
        assert!(count > 10_000, "{count}");
    }
}

#[test]
fn every_short_schedule_at_the_bound_agrees_with_the_model() {
    let ops = [
        Operation::End(0),
        Operation::Process(1),
        Operation::End(2),
        Operation::Process(4),
        Operation::Flush,
        Operation::Begin,
        Operation::Succeed,
        Operation::Fail,
    ];
    let mut full = Model::new(NARROW, 2);
    full.apply(Operation::End(8));
    full.apply(Operation::Process(9));
    exhaust(&full, &ops, deeper(6), &mut Vec::new());
}

#[test]
fn every_short_schedule_with_a_patch_that_cannot_be_written_agrees_with_the_model() {
    let ops = [
        Operation::Thread(0),
        Operation::Thread(POISON),
        Operation::End(1),
        Operation::Flush,
        Operation::Durable,
        Operation::Begin,
        Operation::Judge,
    ];
    exhaust(&Model::new(WIDE, 4), &ops, deeper(6), &mut Vec::new());
}

fn any_op() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0u8..6).prop_map(Operation::Thread),
        3 => (0u8..8).prop_map(Operation::Process),
        3 => (0u8..8).prop_map(Operation::End),
        2 => Just(Operation::Flush),
        1 => Just(Operation::Durable),
        4 => Just(Operation::Begin),
        2 => Just(Operation::Succeed),
        2 => Just(Operation::Fail),
        2 => Just(Operation::Judge),
        1 => any::<u8>().prop_map(Operation::Leave),
        1 => any::<u8>().prop_map(Operation::Acknowledge),
    ]
}

fn run(ops: Vec<Operation>, bounds: QueueBounds, batch: usize) {
    let mut model = Model::new(bounds, batch);
    for op in ops {
        if model.is_possible(op) {
            model.apply(op);
        }
    }
    model.recover();
}

proptest! {
    #[test]
    fn long_schedules_agree_with_the_model(
        ops in prop::collection::vec(any_op(), 0..120),
        batch in 1usize..6,
        narrow: bool,
    ) {
        run(ops, if narrow { NARROW } else { WIDE }, batch);
    }
}

#[test]
fn a_process_that_was_refused_and_begins_again_is_not_given_up_while_it_runs() {
    let now = Instant::now();
    let room = QueueBounds {
        process_bytes: 3 * ENTRY_BYTES + 1_000,
        thread_bytes: 0,
    };
    let mut scheduler = WriteScheduler::bounded(room, 2, now);
    let mut accept = |n, finished, starts: bool| {
        let mut update = update(ModelKey::Process(n), 0, finished);
        if let Update::Process(patch) = &mut update {
            patch.start = starts.then(|| Arc::new(start()));
        }
        scheduler.accept(update, None, now)
    };
    accept(1, true, true).unwrap();
    accept(1, false, true).unwrap();
    let mut others = (2..).map(|n| accept(n, false, false));
    assert_eq!(others.find_map(Result::err), Some(AcceptError::Full));
    drop(others);
    assert_eq!(scheduler.stats(now).dropped, 1, "the one that was refused");
    let WriterAction::Write(taken) = scheduler.next(now + LINGER) else {
        panic!("it has something to write")
    };
    let oldest = &taken.batch.processes[0];
    assert!(oldest.key.process_id == ProcessId([1; 16]) && oldest.start.is_some());
}

/// A start without arguments.
fn start() -> ProcessStart {
    ProcessStart {
        epoch: Epoch([0; 16]),
        boot_id: [0; 16],
        thread_id: None,
        turn: None,
        step: None,
        argv: Argv::default(),
        argv_cut: false,
        cwd: Box::default(),
        accepted_unix_ns: 0,
        detached: false,
        parameters: [0; 32],
        trace: None,
    }
}

#[test]
fn an_upkeep_that_fails_is_known_by_its_cause_and_tried_again_in_a_while() {
    let mut now = Instant::now();
    let mut scheduler = WriteScheduler::new(now);
    let error = WriteError::new(WriteErrorKind::Io, "by command");
    assert!(matches!(scheduler.next(now), WriterAction::Upkeep));
    scheduler.upkeep_done(Err(error.clone()), now);
    assert_eq!(scheduler.upkeep_failing(), Some(&error));
    let WriterAction::Sleep(until) = scheduler.next(now) else {
        panic!("it would spin")
    };
    assert_eq!(until, now + UPKEEP_INTERVAL);
    now = until;
    assert!(matches!(scheduler.next(now), WriterAction::Upkeep));
    // One step of several went well: not yet the one that failed.
    scheduler.upkeep_done(Ok(UpkeepProgress::More), now);
    assert_eq!(scheduler.upkeep_failing(), Some(&error));
    assert!(matches!(scheduler.next(now), WriterAction::Upkeep));
    scheduler.upkeep_done(Ok(UpkeepProgress::Done), now);
    assert_eq!(scheduler.upkeep_failing(), None);
}
