//! The log beside a model that keeps every event, and single cases.

use baton_proto::exec::{Closed, Output, OutputStream, Started};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn output(len: usize) -> Kind {
    Kind::Output(Output {
        stream: OutputStream::Stdout.into(),
        data: Bytes::from(vec![7; len]),
    })
}

fn blocking(capacity: usize) -> EventLog {
    EventLog::new(capacity, OnFull::Block)
}

/// The `seq`s that a reader gets that has everything up to `seen`, and the gaps as the first `seq` after each.
fn read(log: &EventLog, mut seen: u64) -> (Vec<u64>, Vec<u64>) {
    let (mut seqs, mut gaps) = (Vec::new(), Vec::new());
    while let Some(next) = log.next_after(seen) {
        match next {
            Next::Event(event) => {
                assert_eq!(event.seq, seen + 1);
                seen = event.seq;
                seqs.push(seen);
            }
            Next::Gap { first } => {
                assert!(first > seen + 1, "a gap that misses nothing");
                seen = first - 1;
                gaps.push(first);
            }
        }
    }
    assert_eq!(seen, log.last(), "a reader reaches the end");
    (seqs, gaps)
}

#[test]
fn events_are_numbered_from_one_and_read_in_order() {
    let mut log = blocking(1 << 20);
    assert_eq!(log.append(Kind::Started(Started::default())), 1);
    assert_eq!(log.append(output(3)), 2);
    assert_eq!(log.append(Kind::Closed(Closed::default())), 3);
    assert_eq!(read(&log, 0), (vec![1, 2, 3], vec![]));
    assert_eq!(log.next_after(3), None);
    assert_eq!(log.next_after(u64::MAX), None);
}

#[test]
fn a_reader_behind_discarded_events_gets_a_gap_that_names_the_first_left() {
    let mut log = blocking(1 << 20);
    for _ in 0..5 {
        log.append(output(1));
    }
    log.discard(3);
    assert_eq!(log.next_after(0), Some(Next::Gap { first: 4 }));
    assert_eq!(read(&log, 0), (vec![4, 5], vec![4]));
    log.discard(5);
    assert_eq!(read(&log, 0), (vec![], vec![6]));
    assert_eq!(log.bytes(), 0);
}

#[test]
fn output_that_asks_for_room_never_exceeds_the_capacity() {
    for len in [1, 100, READ_BYTES] {
        let capacity = 300_000;
        let mut log = blocking(capacity);
        while log.has_room() {
            log.append(output(len));
        }
        assert!(log.bytes() <= capacity, "{} with chunks of {len}", log.bytes());
        assert!(log.bytes() > capacity / 2, "{} with chunks of {len}", log.bytes());
    }
}

#[test]
fn discard_and_consume_report_once_that_there_is_room() {
    for free in [EventLog::discard, EventLog::consume] {
        let mut log = blocking(3 * READ_BYTES);
        while log.has_room() {
            log.append(output(READ_BYTES));
        }
        let last = log.last();
        assert!(!free(&mut log, 0), "nothing was freed");
        assert!(free(&mut log, 1));
        assert!(!free(&mut log, last), "there was room already");
    }
}

#[test]
fn consumed_output_stays_until_its_room_is_needed() {
    let mut log = blocking(3 * READ_BYTES);
    log.append(Kind::Started(Started::default()));
    while log.has_room() {
        log.append(output(READ_BYTES));
    }
    let last = log.last();
    log.consume(last);
    assert!(read(&log, 0).1.is_empty(), "nothing was evicted");
    log.append(output(READ_BYTES));
    assert_eq!(
        log.next_after(1),
        Some(Next::Gap { first: 3 }),
        "only the oldest was"
    );
    log.evict_consumed();
    assert_eq!(read(&log, 0), (vec![1, last + 1], vec![last + 1]));
}

#[test]
fn a_log_that_drops_keeps_the_newest_output_and_the_exit() {
    let mut log = EventLog::new(0, OnFull::Drop);
    log.append(Kind::Started(Started::default()));
    for _ in 0..10 {
        assert!(log.has_room());
        log.append(output(READ_BYTES));
    }
    assert_eq!(log.append(Kind::Closed(Closed::default())), 12);
    assert_eq!(read(&log, 0), (vec![1, 11, 12], vec![11]));
}

#[test]
fn a_full_log_takes_the_exit_and_the_end() {
    let mut log = blocking(0);
    while log.has_room() {
        log.append(output(READ_BYTES));
    }
    let seq = log.append(Kind::Closed(Closed::default()));
    assert_eq!(log.last(), seq);
    assert!(read(&log, 0).1.is_empty());
}

#[test]
fn an_acknowledgement_ahead_of_the_log_is_refused() {
    let mut log = blocking(1 << 20);
    log.append(output(1));
    log.append(output(1));
    assert_eq!(log.acknowledge(2), Ok(()));
    assert_eq!(log.acknowledge(1), Ok(()));
    assert_eq!(log.acknowledged(), 2);
    assert_eq!(
        log.acknowledge(3),
        Err(RequestError::Ack { last: 2, received: 3 })
    );
}

#[derive(Debug, Clone)]
enum Step {
    /// Output of this length, if there is room.
    Output(usize),
    /// The next of Started, Exited and Closed, without a look at the room.
    Milestone,
    /// The owner has consumed this part, in thousandths, of what it has not.
    Consume(u64),
    /// The same part is discarded.
    Discard(u64),
    EvictConsumed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop_oneof![1..200_usize, Just(READ_BYTES), 1..=READ_BYTES].prop_map(Step::Output),
        1 => Just(Step::Milestone),
        3 => (0..=1000_u64).prop_map(Step::Consume),
        1 => (0..=1000_u64).prop_map(Step::Discard),
        1 => Just(Step::EvictConsumed),
    ]
}

/// Every event ever appended: its cost, and whether it is output.
#[derive(Default)]
struct Model {
    events: Vec<(usize, bool)>,
    consumed: u64,
    discarded: u64,
    milestones: usize,
}

impl Model {
    fn cost(&self, seq: u64) -> usize {
        self.events[seq as usize - 1].0
    }

    fn is_output(&self, seq: u64) -> bool {
        self.events[seq as usize - 1].1
    }

    fn last(&self) -> u64 {
        self.events.len() as u64
    }

    /// The `seq` at this part, in thousandths, of what comes after `from`.
    fn at(&self, from: u64, part: u64) -> u64 {
        from + (self.last() - from) * part / 1000
    }
}

proptest! {
    #[test]
    fn a_log_keeps_what_the_rules_keep_and_tells_what_is_gone(
        capacity in 0..6 * READ_BYTES,
        drops in any::<bool>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let on_full = if drops { OnFull::Drop } else { OnFull::Block };
        let mut log = EventLog::new(capacity, on_full);
        let capacity = capacity.max(READ_BYTES + ENTRY_BYTES);
        let mut model = Model::default();
        let mut retained: Vec<u64> = Vec::new();
        for step in steps {
            let before = retained.clone();
            let bytes_before = log.bytes();
            let had_room = log.has_room();
            let evicts_consumed = matches!(step, Step::EvictConsumed);
            let (mut added, mut freed) = (None, None);
            match step {
                Step::Output(len) if had_room => {
                    model.events.push((ENTRY_BYTES + len, true));
                    prop_assert_eq!(log.append(output(len)), model.last());
                    added = Some(ENTRY_BYTES + len);
                }
                Step::Output(_) => continue,
                Step::Milestone if model.milestones < 3 => {
                    model.milestones += 1;
                    model.events.push((ENTRY_BYTES, false));
                    log.append(Kind::Closed(Closed::default()));
                }
                Step::Milestone => continue,
                Step::Consume(part) => {
                    model.consumed = model.at(model.consumed, part);
                    freed = Some(log.consume(model.consumed));
                }
                Step::Discard(part) => {
                    model.discarded = model.at(model.discarded, part);
                    freed = Some(log.discard(model.discarded));
                }
                Step::EvictConsumed => log.evict_consumed(),
            }
            let (seqs, gaps) = read(&log, 0);
            retained = seqs;

            // The bytes are those of what is retained, and bounded.
            let held: usize = retained.iter().map(|seq| model.cost(*seq)).sum();
            prop_assert_eq!(log.bytes(), held);
            prop_assert!(held <= capacity + 3 * ENTRY_BYTES);
            // There is room exactly if what has to stay leaves a read's worth.
            let stays = |seq: &&u64| !model.is_output(**seq) || **seq > model.consumed;
            let staying: usize = retained.iter().filter(stays).map(|seq| model.cost(*seq)).sum();
            prop_assert_eq!(log.has_room(), drops || staying + READ_BYTES + ENTRY_BYTES <= capacity);
            if let Some(freed) = freed {
                prop_assert_eq!(freed, !had_room && log.has_room());
            }

            // Only output may go, other than by a discard, and only what was consumed, unless the log drops.
            let gone: Vec<u64> = (model.discarded + 1..=model.last())
                .filter(|seq| !retained.contains(seq))
                .collect();
            for seq in &gone {
                prop_assert!(model.is_output(*seq));
                prop_assert!(drops || *seq <= model.consumed, "{} was not consumed", seq);
            }
            // The oldest goes first.
            let kept_output = retained.iter().find(|seq| model.is_output(**seq));
            if let (Some(newest_gone), Some(kept)) = (gone.last(), kept_output) {
                prop_assert!(newest_gone < kept);
            }
            // And only for room: with the last one that went, the new event would not have fitted.
            let went: Vec<u64> = before
                .iter()
                .copied()
                .filter(|seq| !retained.contains(seq) && *seq > model.discarded)
                .collect();
            match (added, went.last()) {
                (Some(added), Some(last)) => {
                    let cost: usize = went.iter().map(|seq| model.cost(*seq)).sum();
                    let without_last = cost - model.cost(*last);
                    prop_assert!(bytes_before - without_last + added > capacity);
                }
                (None, Some(_)) => prop_assert!(evicts_consumed, "only output needs room"),
                (_, None) => {}
            }

            // Each gap names the first event left, or the next one.
            for first in gaps {
                prop_assert!(retained.contains(&first) || first == log.next_seq());
            }
        }
    }
}
