//! The log beside a model that keeps every event, and single cases.

use baton_proto::exec::{Closed, Exited, Output, OutputStream, Started};
use bytes::Bytes;
use proptest::prelude::*;

use std::time::Duration;

use baton_export::clock;

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

impl EventLog {
    /// Adds an event at a time that does not matter.
    fn add(&mut self, kind: Kind) -> u64 {
        self.append(kind, clock::now())
    }
}

#[test]
fn a_reader_begins_at_a_time() {
    let mut log = EventLog::new(0, OnFull::Drop);
    let begun = clock::now();
    let at = |seconds| begun + Duration::from_secs(seconds);
    log.append(Kind::Started(Started::default()), at(0));
    for seconds in 1..=3 {
        log.append(output(1), at(seconds));
    }
    let before = [at(0), at(1), at(2), at(3), at(4)].map(|at| log.seq_before(at));
    assert_eq!(before, [0, 1, 2, 3, 4]);
    assert!(log.drop_oldest_waiting() && log.drop_oldest_waiting());
    assert_eq!([at(1), at(3)].map(|at| log.seq_before(at)), [3, 3]);
    log.append(Kind::Exited(Exited::default()), at(5));
    log.append(output(1), at(6));
    assert_eq!([at(5), at(7)].map(|at| log.seq_before(at)), [4, 4]);
}

#[test]
fn events_are_numbered_from_one_and_read_in_order() {
    let mut log = blocking(1 << 20);
    assert_eq!(log.add(Kind::Started(Started::default())), 1);
    assert_eq!(log.add(output(3)), 2);
    assert_eq!(log.add(Kind::Closed(Closed::default())), 3);
    assert_eq!(read(&log, 0), (vec![1, 2, 3], vec![]));
    assert_eq!(log.next_after(3), None);
    assert_eq!(log.next_after(u64::MAX), None);
}

#[test]
fn a_reader_behind_discarded_events_gets_a_gap_that_names_the_first_left() {
    let mut log = blocking(1 << 20);
    for _ in 0..5 {
        log.add(output(1));
    }
    log.discard(3);
    assert_eq!(log.next_after(0), Some(Next::Gap { first: 4 }));
    assert_eq!(read(&log, 0), (vec![4, 5], vec![4]));
    log.discard(5);
    assert_eq!(read(&log, 0), (vec![], vec![6]));
    assert_eq!(log.waiting_bytes(), 0);
}

#[test]
fn output_that_asks_for_room_never_exceeds_the_capacity() {
    for len in [1, 100, READ_BYTES] {
        let capacity = 300_000;
        let mut log = blocking(capacity);
        while log.has_room() {
            log.add(output(len));
        }
        assert!(
            log.waiting_bytes() <= capacity,
            "{} with chunks of {len}",
            log.waiting_bytes()
        );
        assert!(
            log.waiting_bytes() > capacity / 2,
            "{} with chunks of {len}",
            log.waiting_bytes()
        );
    }
}

/// As much as three reads, on the wire and in memory.
fn keeping() -> EventLog {
    let mut log = blocking(3 * READ_BYTES);
    log.keep(Keep {
        encoded: 3 * READ_BYTES,
        memory: 4 * READ_BYTES,
    });
    log
}

#[test]
fn discard_and_hand_over_report_once_that_there_is_room() {
    for mut log in [blocking(3 * READ_BYTES), keeping()] {
        for free in [EventLog::discard, EventLog::hand_over] {
            while log.has_room() {
                log.add(output(READ_BYTES));
            }
            let last = log.last();
            assert!(!free(&mut log, 0), "nothing was freed");
            assert!(free(&mut log, last - 1));
            assert!(!free(&mut log, last), "there was room already");
        }
    }
}

#[test]
fn a_log_that_keeps_nothing_drops_what_is_handed_over() {
    let mut log = blocking(3 * READ_BYTES);
    log.add(Kind::Started(Started::default()));
    log.add(output(1));
    log.hand_over(1);
    assert_eq!(log.next_after(0), Some(Next::Gap { first: 2 }));
    assert_eq!(log.kept_bytes(), 0);
}

#[test]
fn output_that_was_handed_over_stays_until_its_room_is_needed() {
    let mut log = keeping();
    log.add(Kind::Started(Started::default()));
    for _ in 0..2 {
        log.add(output(READ_BYTES));
        let last = log.last();
        log.hand_over(last);
    }
    assert_eq!(
        read(&log, 0),
        (vec![1, 2, 3], vec![]),
        "two reads and their headers fit"
    );
    let last = log.add(output(READ_BYTES));
    assert!(read(&log, 0).1.is_empty(), "what waits needs no room of it");
    log.hand_over(last);
    assert_eq!(
        read(&log, 0),
        (vec![1, 3, 4], vec![3]),
        "only the oldest was evicted"
    );
    log.evict_handed_over();
    assert_eq!(read(&log, 0), (vec![1], vec![5]));
}

#[test]
fn small_events_are_kept_within_the_limit_of_memory() {
    let mut log = keeping();
    for _ in 0..10_000 {
        let last = log.add(output(1));
        log.hand_over(last);
        assert!(log.kept_bytes() <= 4 * READ_BYTES);
    }
    assert!(log.kept_bytes() > 4 * READ_BYTES - 2 * ENTRY_BYTES);
}

#[test]
fn a_log_that_drops_keeps_the_newest_output_and_the_exit() {
    let mut log = EventLog::new(0, OnFull::Drop);
    log.add(Kind::Started(Started::default()));
    for _ in 0..10 {
        assert!(log.has_room());
        log.add(output(READ_BYTES));
    }
    assert_eq!(log.add(Kind::Closed(Closed::default())), 12);
    assert_eq!(read(&log, 0), (vec![1, 11, 12], vec![11]));
}

#[test]
fn a_full_log_takes_the_exit_and_the_end() {
    let mut log = blocking(0);
    while log.has_room() {
        log.add(output(READ_BYTES));
    }
    let seq = log.add(Kind::Closed(Closed::default()));
    assert_eq!(log.last(), seq);
    assert!(read(&log, 0).1.is_empty());
}

#[test]
fn an_acknowledgement_ahead_of_the_log_is_refused() {
    let mut log = blocking(1 << 20);
    log.add(output(1));
    log.add(output(1));
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
    /// This part, in thousandths, of what waits is handed over.
    HandOver(u64),
    /// The same part of what was not discarded is discarded.
    Discard(u64),
    EvictHandedOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop_oneof![1..200_usize, Just(READ_BYTES), 1..=READ_BYTES].prop_map(Step::Output),
        1 => Just(Step::Milestone),
        5 => (0..=1000_u64).prop_map(Step::HandOver),
        1 => (0..=1000_u64).prop_map(Step::Discard),
        1 => Just(Step::EvictHandedOver),
    ]
}

/// Every event ever appended: its memory, its bytes on the wire, and whether it is output.
#[derive(Default)]
struct Model {
    events: Vec<(usize, usize, bool)>,
    handed: u64,
    discarded: u64,
    milestones: usize,
}

impl Model {
    fn push(&mut self, kind: &Kind) {
        let event = ProcessEvent {
            seq: self.last() + 1,
            kind: Some(kind.clone()),
        };
        self.events
            .push((cost(&event), encoded(&event), is_output(&event)));
    }

    fn last(&self) -> u64 {
        self.events.len() as u64
    }

    fn is_output(&self, seq: u64) -> bool {
        self.events[seq as usize - 1].2
    }

    /// The memory and the bytes on the wire of these events.
    fn sums<'a>(&self, seqs: impl IntoIterator<Item = &'a u64>) -> (usize, usize) {
        seqs.into_iter().fold((0, 0), |(bytes, encoded), seq| {
            let event = self.events[*seq as usize - 1];
            (bytes + event.0, encoded + event.1)
        })
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
        keep in prop_oneof![
            Just(Keep::default()),
            (1..4 * READ_BYTES, 1..4 * READ_BYTES).prop_map(|(encoded, memory)| Keep { encoded, memory }),
        ],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let on_full = if drops { OnFull::Drop } else { OnFull::Block };
        let mut log = EventLog::new(capacity, on_full);
        log.keep(keep);
        let capacity = capacity.max(READ_BYTES + ENTRY_BYTES);
        let mut model = Model::default();
        let mut retained: Vec<u64> = Vec::new();
        for step in steps {
            let before = retained.clone();
            let had_room = log.has_room();
            let waiting_before = log.waiting_bytes();
            let (mut added, mut freed) = (None, None);
            let (is_handing_over, is_evicting) = (
                matches!(step, Step::HandOver(_)),
                matches!(step, Step::EvictHandedOver),
            );
            match step {
                Step::Output(len) if had_room => {
                    let kind = output(len);
                    model.push(&kind);
                    prop_assert_eq!(log.add(kind), model.last());
                    added = model.events.last().map(|event| event.0);
                }
                Step::Output(_) => continue,
                Step::Milestone if model.milestones < 3 => {
                    model.milestones += 1;
                    let kind = Kind::Closed(Closed::default());
                    model.push(&kind);
                    log.add(kind);
                }
                Step::Milestone => continue,
                Step::HandOver(part) => {
                    let to = model.at(model.handed, part);
                    freed = Some(log.hand_over(to));
                    match keep == Keep::default() {
                        true => model.discarded = model.discarded.max(to),
                        false => model.handed = to,
                    }
                }
                Step::Discard(part) => {
                    model.discarded = model.at(model.discarded, part);
                    freed = Some(log.discard(model.discarded));
                }
                Step::EvictHandedOver => log.evict_handed_over(),
            }
            let (seqs, gaps) = read(&log, 0);
            retained = seqs;

            // What is counted is what is retained.
            let kept: Vec<u64> = retained
                .iter()
                .copied()
                .filter(|seq| *seq <= model.handed && model.is_output(*seq))
                .collect();
            let (kept_bytes, kept_encoded) = model.sums(&kept);
            prop_assert_eq!(log.kept_bytes(), kept_bytes);
            prop_assert_eq!(log.waiting_bytes(), model.sums(&retained).0 - kept_bytes);
            // And bounded.
            prop_assert!(kept_bytes <= keep.memory && kept_encoded <= keep.encoded);
            prop_assert!(log.waiting_bytes() <= capacity + 3 * ENTRY_BYTES);
            // There is room exactly if what waits leaves a read's worth.
            let room = drops || log.waiting_bytes() + READ_BYTES + ENTRY_BYTES <= capacity;
            prop_assert_eq!(log.has_room(), room);
            if let Some(freed) = freed {
                prop_assert_eq!(freed, !had_room && log.has_room());
            }

            // Each gap names the first event left, or the next one.
            for first in gaps {
                prop_assert!(retained.contains(&first) || first == log.next_seq());
            }

            // Other than by a discard, only output may go, and none that waits, unless the log drops.
            let went: Vec<u64> = before
                .iter()
                .copied()
                .filter(|seq| !retained.contains(seq) && *seq > model.discarded)
                .collect();
            for seq in &went {
                prop_assert!(model.is_output(*seq));
                prop_assert!(drops || *seq <= model.handed, "{} waits", seq);
            }
            // The oldest of its kind goes first, and only for room.
            let Some(last_gone) = went.last() else { continue };
            if is_handing_over {
                prop_assert!(kept.first().is_none_or(|kept| last_gone < kept));
                let (bytes, encoded) = model.sums(std::iter::once(last_gone).chain(&kept));
                prop_assert!(bytes > keep.memory || encoded > keep.encoded);
            } else if let Some(added) = added {
                let without_last = model.sums(&went[..went.len() - 1]).0;
                prop_assert!(waiting_before - without_last + added > capacity);
            } else {
                prop_assert!(is_evicting);
            }
        }
    }
}
