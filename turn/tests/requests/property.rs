//! The state machine against the model, over random sequences of calls.

use std::time::{Duration, Instant};

use baton_turn::requests::{Bounds, Correlator, EndError, ReportedPart, StartError, TimingReport};
use proptest::prelude::*;

use crate::model::{Expected, Model};

#[derive(Debug, Clone)]
enum Step {
    Advance(u64),
    Start,
    /// With an ordinal this far above the last one; 0 repeats it.
    StartAbove(u64),
    /// Of the request with this ordinal.
    End(u64),
    Report(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0_u64..40).prop_map(Step::Advance),
        4 => Just(Step::Start),
        1 => (0_u64..3).prop_map(Step::StartAbove),
        1 => (0_u64..40).prop_map(Step::End),
        4 => (0_u64..40).prop_map(Step::Report),
    ];
    proptest::collection::vec(step, 0..120)
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1_usize..6, 1_u64..100, 1_usize..8).prop_map(|(waiting, timeout_ms, remembered)| Bounds {
        waiting,
        report_timeout: Duration::from_millis(timeout_ms),
        remembered,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_correlator_does_what_the_model_does(bounds in bounds(), steps in steps()) {
        let (mut correlator, mut model) = (Correlator::with_bounds(bounds), Model::new(bounds));
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Advance(ms) => {
                    now += Duration::from_millis(ms);
                    correlator.handle_timeout(now);
                    model.expire(now);
                }
                Step::Start => {
                    let next = model.last().map_or(0, |last| last + 1);
                    prop_assert_eq!(correlator.start(now), Ok(next));
                    prop_assert!(model.start(next, now));
                }
                Step::StartAbove(gap) => {
                    let last = model.last().unwrap_or(0);
                    let ordinal = last + gap;
                    let started = correlator.start_as(ordinal, now);
                    if model.start(ordinal, now) {
                        prop_assert_eq!(started, Ok(()));
                    } else {
                        prop_assert_eq!(started, Err(StartError::Repeated { ordinal, last }));
                    }
                }
                Step::End(ordinal) => {
                    let ended = correlator.end(ordinal, now);
                    prop_assert_eq!(ended.is_ok(), model.end(ordinal, now), "{:?}", ended);
                }
                Step::Report(ordinal) => {
                    let part = ReportedPart::from_ns("part", 0, ordinal);
                    let expected = model.report(ordinal, now);
                    match correlator.report(ordinal, &[part], now) {
                        TimingReport::Matched(timing) => {
                            let Expected::Matched { start, total } = expected else {
                                return Err(TestCaseError::fail(format!("matched, not {expected:?}")));
                            };
                            prop_assert_eq!((timing.ordinal, timing.start, timing.total), (ordinal, start, total));
                            prop_assert_eq!(timing.covered, total.min(Duration::from_nanos(ordinal)));
                        }
                        TimingReport::Late => prop_assert_eq!(expected, Expected::Late),
                        TimingReport::Duplicate => prop_assert_eq!(expected, Expected::Duplicate),
                        TimingReport::Unknown => prop_assert_eq!(expected, Expected::Unknown),
                    }
                }
            }
            prop_assert_eq!(correlator.counters(), model.counters);
            prop_assert_eq!(correlator.waiting(), model.waiting());
            prop_assert!(correlator.waiting() <= bounds.waiting);
            let counted = correlator.counters();
            prop_assert_eq!(counted.started, counted.matched + counted.lost + correlator.waiting() as u64);
        }
    }
}

#[test]
fn the_ordinal_after_the_last_one_overflows() {
    let now = Instant::now();
    let mut correlator = Correlator::default();
    correlator.start_as(u64::MAX, now).unwrap();
    assert_eq!(correlator.start(now), Err(StartError::Overflow));
    let repeated = StartError::Repeated {
        ordinal: u64::MAX,
        last: u64::MAX,
    };
    assert_eq!(correlator.start_as(u64::MAX, now), Err(repeated));
    assert!(matches!(
        correlator.report(u64::MAX, &[], now),
        TimingReport::Matched(_)
    ));
    assert_eq!(correlator.counters().started, 1);
}

#[test]
fn an_unreadable_report_is_counted_as_unknown() {
    let mut correlator = Correlator::default();
    correlator.report_unreadable();
    assert_eq!(correlator.counters().unknown, 1);
}

#[test]
fn under_a_clock_that_stands_still_or_goes_back_the_number_is_bounded() {
    let bounds = Bounds {
        waiting: 8,
        ..Bounds::default()
    };
    let mut correlator = Correlator::with_bounds(bounds);
    let now = Instant::now();
    let back = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
    for _ in 0..100_000 {
        correlator.start(now).unwrap();
        correlator.start(back).unwrap();
    }
    assert_eq!((correlator.waiting(), correlator.counters().lost), (8, 199_992));
    let TimingReport::Matched(timing) = correlator.report(199_999, &[], back) else {
        panic!("the last request waits");
    };
    assert_eq!(timing.total, Duration::ZERO);
}

#[test]
fn bounds_are_moved_into_their_range() {
    let none = Bounds {
        waiting: 0,
        report_timeout: Duration::MAX,
        remembered: 0,
    };
    let mut correlator = Correlator::with_bounds(none);
    let now = Instant::now();
    let first = correlator.start(now).unwrap();
    assert_eq!(correlator.poll_timeout(), None);
    assert!(matches!(
        correlator.report(first, &[], now),
        TimingReport::Matched(_)
    ));
    assert_eq!(correlator.report(first, &[], now), TimingReport::Duplicate);
}

#[test]
fn the_timeout_is_that_of_the_oldest_request() {
    let mut correlator = Correlator::default();
    let now = Instant::now();
    let timeout = Bounds::default().report_timeout;
    assert_eq!(correlator.poll_timeout(), None);
    correlator.start(now).unwrap();
    correlator.start(now + Duration::from_secs(1)).unwrap();
    assert_eq!(correlator.poll_timeout(), Some(now + timeout));
    correlator.handle_timeout(now + timeout);
    assert_eq!(correlator.counters().lost, 1);
    assert_eq!(
        correlator.poll_timeout(),
        Some(now + timeout + Duration::from_secs(1))
    );
    correlator.close();
    assert_eq!((correlator.counters().lost, correlator.waiting()), (2, 0));
}

#[test]
fn an_end_is_stamped_once_and_before_the_report() {
    let mut correlator = Correlator::default();
    let now = Instant::now();
    let ordinal = correlator.start(now).unwrap();
    assert_eq!(correlator.end(ordinal, now), Ok(()));
    assert_eq!(correlator.end(ordinal, now), Err(EndError::Repeated { ordinal }));
    correlator.report(ordinal, &[], now);
    assert_eq!(
        correlator.end(ordinal, now),
        Err(EndError::NotWaiting { ordinal })
    );
}
