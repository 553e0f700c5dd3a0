//! The machine against a [`model`]: every short schedule, and long ones at random.

mod model;

use std::env;
use std::sync::Arc;
use std::time::Instant;

use baton_proto::{Epoch, ProcessId};
use proptest::prelude::*;

use self::model::{Key, Op, POISON, World, update};
use super::*;
use crate::limits::ENTRY_BYTES;
use crate::record::{Argv, ProcessStart};

const WIDE: Bounds = Bounds {
    process_bytes: 1 << 20,
    thread_bytes: 1 << 20,
};

/// Room for three processes, and for about as many threads.
const NARROW: Bounds = Bounds {
    process_bytes: 3 * ENTRY_BYTES + 100,
    thread_bytes: 3 * ENTRY_BYTES + 600,
};

/// Every schedule of `ops` up to a length. Returns how many there were.
fn exhaust(world: &World, ops: &[Op], depth: usize, path: &mut Vec<Op>) -> u64 {
    let mut count = 1;
    if depth == 0 {
        world.clone().recover();
        return count;
    }
    for &op in ops {
        if !world.is_possible(op) {
            continue;
        }
        let mut next = world.clone();
        path.push(op);
        let shown = Shown(path);
        next.apply(op);
        std::mem::forget(shown);
        count += exhaust(&next, ops, depth - 1, path);
        path.pop();
    }
    count
}

/// Prints the schedule that a panic is thrown in.
struct Shown<'a>(&'a [Op]);

impl Drop for Shown<'_> {
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
        Op::Thread(0),
        Op::Thread(1),
        Op::Flush,
        Op::Durable,
        Op::Begin,
        Op::Succeed,
        Op::Fail,
    ];
    for batch in [1, 2] {
        let count = exhaust(&World::new(WIDE, batch), &ops, deeper(6), &mut Vec::new());
        assert!(count > 10_000, "{count}");
    }
}

#[test]
fn every_short_schedule_at_the_bound_agrees_with_the_model() {
    let ops = [
        Op::End(0),
        Op::Process(1),
        Op::End(2),
        Op::Process(4),
        Op::Flush,
        Op::Begin,
        Op::Succeed,
        Op::Fail,
    ];
    let mut full = World::new(NARROW, 2);
    full.apply(Op::End(8));
    full.apply(Op::Process(9));
    exhaust(&full, &ops, deeper(6), &mut Vec::new());
}

#[test]
fn every_short_schedule_with_a_patch_that_cannot_be_written_agrees_with_the_model() {
    let ops = [
        Op::Thread(0),
        Op::Thread(POISON),
        Op::End(1),
        Op::Flush,
        Op::Durable,
        Op::Begin,
        Op::Judge,
    ];
    exhaust(&World::new(WIDE, 4), &ops, deeper(6), &mut Vec::new());
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..6).prop_map(Op::Thread),
        3 => (0u8..8).prop_map(Op::Process),
        3 => (0u8..8).prop_map(Op::End),
        2 => Just(Op::Flush),
        1 => Just(Op::Durable),
        4 => Just(Op::Begin),
        2 => Just(Op::Succeed),
        2 => Just(Op::Fail),
        2 => Just(Op::Judge),
        1 => any::<u8>().prop_map(Op::Leave),
        1 => any::<u8>().prop_map(Op::Acknowledge),
    ]
}

fn run(ops: Vec<Op>, bounds: Bounds, batch: usize) {
    let mut world = World::new(bounds, batch);
    for op in ops {
        if world.is_possible(op) {
            world.apply(op);
        }
    }
    world.recover();
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
    let room = Bounds {
        process_bytes: 3 * ENTRY_BYTES + 1_000,
        thread_bytes: 0,
    };
    let mut machine = Machine::bounded(room, 2, now);
    let mut accept = |n, finished, starts: bool| {
        let mut update = update(Key::Process(n), 0, finished);
        if let Update::Process(patch) = &mut update {
            patch.start = starts.then(|| Arc::new(start()));
        }
        machine.accept(update, None, now)
    };
    accept(1, true, true).unwrap();
    accept(1, false, true).unwrap();
    let mut others = (2..).map(|n| accept(n, false, false));
    assert_eq!(others.find_map(Result::err), Some(Refused::Full));
    drop(others);
    assert_eq!(machine.stats(now).dropped, 1, "the one that was refused");
    let Next::Write(flight) = machine.next(now + LINGER) else {
        panic!("it has something to write")
    };
    let oldest = &flight.batch.processes[0];
    assert!(oldest.key.process_id == ProcessId([1; 16]) && oldest.start.is_some());
}

/// A start without arguments.
fn start() -> ProcessStart {
    ProcessStart {
        epoch: Epoch([0; 16]),
        boot_id: [0; 16],
        thread_id: None,
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
    let mut machine = Machine::new(now);
    let error = WriteError::new(WriteErrorKind::Io, "by command");
    assert!(matches!(machine.next(now), Next::Upkeep));
    machine.tended(Err(error.clone()), now);
    assert_eq!(machine.upkeep_failing(), Some(&error));
    let Next::Sleep(until) = machine.next(now) else {
        panic!("it would spin")
    };
    assert_eq!(until, now + UPKEEP_INTERVAL);
    now = until;
    assert!(matches!(machine.next(now), Next::Upkeep));
    // One step of several went well: not yet the one that failed.
    machine.tended(Ok(Upkeep::More), now);
    assert_eq!(machine.upkeep_failing(), Some(&error));
    assert!(matches!(machine.next(now), Next::Upkeep));
    machine.tended(Ok(Upkeep::Done), now);
    assert_eq!(machine.upkeep_failing(), None);
}
