//! Parts on the client's interval: against a model that looks at every nanosecond.

use std::time::{Duration, Instant};

use baton_turn::limits::{REPORT_PART_NAME_MAX, REPORT_PARTS_MAX};
use baton_turn::requests::{Correlator, PartRelation, ReportedPart, RequestTiming, TimingReport};
use proptest::prelude::*;

fn matched(total_ns: u64, parts: &[ReportedPart<'_>]) -> RequestTiming {
    let mut correlator = Correlator::default();
    let start = Instant::now();
    let ordinal = correlator.start(start).unwrap();
    match correlator.report(ordinal, parts, start + Duration::from_nanos(total_ns)) {
        TimingReport::Matched(timing) => timing,
        other => panic!("not matched: {other:?}"),
    }
}

/// The relations by name of parts `(offset, duration)` in an interval of 100 ns.
fn relations(parts: &[(u64, u64)]) -> Vec<PartRelation> {
    let parts: Vec<_> = parts
        .iter()
        .map(|&(offset, duration)| ReportedPart::from_ns("part", offset, duration))
        .collect();
    matched(100, &parts)
        .parts
        .iter()
        .map(|part| part.relation)
        .collect()
}

#[test]
fn nested_and_overlapping_parts_are_marked_as_such() {
    use PartRelation::{Apart, Encloses, Nested, Overlaps};
    assert_eq!(relations(&[(0, 10), (10, 10), (30, 5)]), [Apart, Apart, Apart]);
    assert_eq!(relations(&[(0, 30), (10, 10)]), [Encloses, Nested]);
    assert_eq!(relations(&[(0, 30), (20, 30)]), [Overlaps, Overlaps]);
    assert_eq!(relations(&[(0, 30), (0, 30)]), [Encloses, Nested]);
    assert_eq!(
        relations(&[(0, 30), (0, 10), (20, 20)]),
        [Overlaps, Nested, Overlaps]
    );
    assert_eq!(relations(&[(0, 30), (5, 10), (7, 1)]), [Encloses, Nested, Nested]);
    // An empty part at an edge is apart, and one inside is nested.
    assert_eq!(relations(&[(0, 10), (10, 0), (5, 0)]), [Encloses, Apart, Nested]);
}

#[test]
fn nothing_is_added_up() {
    let parts = [
        ReportedPart::from_ns("total", 0, 80),
        ReportedPart::from_ns("prefill", 10, 30),
        ReportedPart::from_ns("decode", 40, 40),
    ];
    let timing = matched(100, &parts);
    assert_eq!(timing.covered, Duration::from_nanos(80));
    assert_eq!(timing.rest, Duration::from_nanos(20));
}

#[test]
fn parts_beyond_the_interval_are_clamped_to_it() {
    let parts = [
        ReportedPart::from_ns("long", 50, u64::MAX),
        ReportedPart::from_ns("beyond", 1_000, 5),
        ReportedPart {
            name: "endless",
            offset: Duration::MAX,
            duration: Duration::MAX,
        },
    ];
    let timing = matched(100, &parts);
    let shown: Vec<_> = timing
        .parts
        .iter()
        .map(|part| (part.offset.as_nanos(), part.duration.as_nanos(), part.is_clamped))
        .collect();
    assert_eq!(shown, [(50, 50, true), (100, 0, true), (100, 0, true)]);
    assert_eq!((timing.covered.as_nanos(), timing.rest.as_nanos()), (50, 50));
}

#[test]
fn the_number_of_parts_and_the_length_of_names_are_bounded() {
    let long = "é".repeat(1 << 20);
    let parts = vec![ReportedPart::from_ns(&long, 0, 1); 100_000];
    let timing = matched(100, &parts);
    assert_eq!(timing.parts.len(), REPORT_PARTS_MAX);
    assert_eq!(timing.dropped_parts, 100_000 - REPORT_PARTS_MAX);
    assert!(
        timing
            .parts
            .iter()
            .all(|part| part.name.len() <= REPORT_PART_NAME_MAX)
    );

    let hostile = ["\x1b[2Jqueue\r\n", "", "\u{202e}\0"].map(|name| ReportedPart::from_ns(name, 0, 1));
    let names: Vec<_> = matched(100, &hostile)
        .parts
        .into_iter()
        .map(|part| part.name)
        .collect();
    assert_eq!(names, ["[2Jqueue", "unnamed", "unnamed"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn covered_is_the_number_of_covered_nanoseconds(
        total in 0_u64..100,
        parts in proptest::collection::vec((0_u64..120, 0_u64..120), 0..8),
    ) {
        let reported: Vec<_> = parts.iter().map(|&(at, long)| ReportedPart::from_ns("part", at, long)).collect();
        let timing = matched(total, &reported);
        let is_covered = |ns: &u64| parts.iter().any(|&(at, long)| at <= *ns && *ns < at + long);
        prop_assert_eq!(timing.covered.as_nanos(), (0..total).filter(is_covered).count() as u128);
        prop_assert_eq!(timing.covered + timing.rest, timing.total);
        for (part, &(at, long)) in timing.parts.iter().zip(&parts) {
            let kept = (0..total).filter(|ns| at <= *ns && *ns < at + long).count();
            prop_assert_eq!(part.duration.as_nanos(), kept as u128);
            prop_assert_eq!(part.is_clamped, at + long > total);
        }
        // Parts that are apart from all others have a sum, which is their share of the union.
        if timing.parts.iter().all(|part| part.relation == PartRelation::Apart) {
            prop_assert_eq!(timing.parts.iter().map(|part| part.duration).sum::<Duration>(), timing.covered);
        }
    }

    #[test]
    fn a_part_is_apart_exactly_if_it_shares_no_nanosecond(
        parts in proptest::collection::vec((0_u64..60, 1_u64..60), 0..8),
    ) {
        let found = relations(&parts);
        let within = |(at, long): (u64, u64), (by, wide): (u64, u64)| by <= at && at + long <= by + wide;
        for (i, &part) in parts.iter().enumerate() {
            let common = |other: (u64, u64)| (0..200).any(|ns| {
                let holds = |(at, long): (u64, u64)| at <= ns && ns < at + long;
                holds(part) && holds(other)
            });
            let others: Vec<_> = (0..parts.len()).filter(|j| *j != i && common(parts[*j])).collect();
            let crosses = others.iter().any(|&j| !within(part, parts[j]) && !within(parts[j], part));
            let is_nested = others.iter().any(|&j| within(part, parts[j]) && (part != parts[j] || j < i));
            let expected = match (crosses, is_nested, others.is_empty()) {
                (true, ..) => PartRelation::Overlaps,
                (_, true, _) => PartRelation::Nested,
                (.., true) => PartRelation::Apart,
                _ => PartRelation::Encloses,
            };
            prop_assert_eq!(found[i], expected, "part {} of {:?}", i, parts);
        }
    }
}
