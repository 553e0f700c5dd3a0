use std::time::Duration;

use baton_proto::limits::WARM_HISTORY_MAX;

use super::super::state::HitPercent;
use super::*;

mod model;

/// The wall clock at the start of a test, in milliseconds.
const EPOCH_MS: u64 = 1_000_000;

const INTERVAL_MS: u64 = 30_000;

/// Two clocks that the test sets.
struct Clock {
    start: Instant,
    monotonic_ms: u64,
    wall_ms: u64,
}

impl Clock {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            monotonic_ms: 0,
            wall_ms: EPOCH_MS,
        }
    }

    fn advance(&mut self, ms: u64) -> Anchor {
        self.monotonic_ms += ms;
        self.wall_ms += ms;
        self.now()
    }

    fn now(&self) -> Anchor {
        Anchor {
            instant: self.at(self.monotonic_ms),
            unix_ns: self.wall_ms * 1_000_000,
        }
    }

    fn at(&self, monotonic_ms: u64) -> Instant {
        self.start + Duration::from_millis(monotonic_ms)
    }
}

fn interval(ms: u64) -> WarmInterval {
    Duration::from_millis(ms).try_into().unwrap()
}

fn schedule(enabled: bool) -> (WarmSchedule, Clock) {
    let clock = Clock::new();
    (
        WarmSchedule::new(interval(INTERVAL_MS), enabled, clock.now()),
        clock,
    )
}

fn warmed() -> WarmResult {
    WarmResult::Warmed { hit: HitPercent::ALL }
}

fn failed() -> WarmResult {
    WarmResult::Failed {
        error: "unreachable".into(),
    }
}

/// Asserts that the timer is off and that this is published.
#[track_caller]
fn assert_off(schedule: &WarmSchedule) {
    assert_eq!(
        (schedule.next_timeout(), schedule.state().next_warm_at),
        (None, None)
    );
}

/// Asserts that the timer is armed for this time after the start, and that this is published.
#[track_caller]
fn assert_armed(schedule: &WarmSchedule, clock: &Clock, ms: u64) {
    assert_eq!(schedule.next_timeout(), Some(clock.at(ms)));
    assert_eq!(schedule.state().next_warm_at, Some(EPOCH_MS + ms));
}

#[test]
fn an_enabled_schedule_is_armed_and_a_disabled_one_is_not() {
    let (schedule, clock) = self::schedule(true);
    assert_armed(&schedule, &clock, INTERVAL_MS);
    assert_off(&self::schedule(false).0);
}

#[test]
fn an_automatic_warm_begins_when_it_is_due_and_not_before() {
    let (mut schedule, mut clock) = schedule(true);
    assert!(!schedule.begin_due(clock.advance(INTERVAL_MS - 1)));
    assert!(schedule.begin_due(clock.advance(1)));
    assert_eq!(schedule.next_timeout(), None, "one warm at a time");
    assert!(!schedule.begin_due(clock.advance(INTERVAL_MS)));
    let state = schedule.state();
    assert_eq!(
        state.next_warm_at,
        Some(EPOCH_MS + INTERVAL_MS),
        "until it has ended"
    );
    assert_eq!(state.change, 0, "its end is the change");
    schedule.end_warm(warmed(), clock.advance(7));
    assert_armed(&schedule, &clock, 3 * INTERVAL_MS + 7);
    let state = schedule.state();
    assert_eq!(state.last_warm_at, Some(EPOCH_MS + 2 * INTERVAL_MS + 7));
    assert_eq!(
        state.history,
        [WarmRecord {
            at: EPOCH_MS + 2 * INTERVAL_MS + 7,
            trigger: WarmTrigger::Automatic,
            result: warmed(),
            duration: Duration::from_millis(INTERVAL_MS + 7),
        }]
    );
}

#[test]
fn while_a_call_runs_the_timer_is_off() {
    let (mut schedule, mut clock) = schedule(true);
    schedule.call_started(clock.advance(5));
    assert!(schedule.state().active);
    assert_off(&schedule);
    assert!(!schedule.begin_due(clock.advance(10 * INTERVAL_MS)));
}

#[test]
fn while_warming_is_disabled_the_timer_is_off() {
    let (mut schedule, mut clock) = schedule(true);
    schedule.set_enabled(false, clock.advance(5));
    assert_off(&schedule);
    assert!(!schedule.begin_due(clock.advance(10 * INTERVAL_MS)));
    schedule.set_enabled(true, clock.now());
    assert_armed(&schedule, &clock, 11 * INTERVAL_MS + 5);
}

#[test]
fn neither_an_interval_nor_the_end_of_a_call_arms_a_disabled_timer() {
    let (mut schedule, mut clock) = schedule(false);
    schedule.set_interval(interval(1_000), clock.advance(5));
    assert_off(&schedule);
    schedule.call_started(clock.advance(5));
    schedule.call_ended(clock.advance(5));
    assert_off(&schedule);
}

#[test]
fn neither_an_interval_nor_enabling_arms_the_timer_while_a_call_runs() {
    let (mut schedule, mut clock) = schedule(false);
    schedule.call_started(clock.advance(5));
    schedule.set_enabled(true, clock.advance(5));
    schedule.set_interval(interval(1_000), clock.advance(5));
    assert_off(&schedule);
    schedule.call_ended(clock.advance(5));
    assert_armed(&schedule, &clock, 20 + 1_000);
}

#[test]
fn a_changed_interval_arms_the_timer_from_now() {
    let (mut schedule, mut clock) = schedule(true);
    schedule.set_interval(interval(1_000), clock.advance(500));
    assert_armed(&schedule, &clock, 1_500);
    assert_eq!(schedule.state().interval.as_millis(), 1_000);
}

#[test]
fn the_end_of_the_last_of_several_calls_arms_the_timer_from_then() {
    let (mut schedule, mut clock) = schedule(true);
    schedule.call_started(clock.advance(10));
    schedule.call_started(clock.advance(10));
    schedule.call_ended(clock.advance(10));
    assert!(schedule.state().active, "one of them still runs");
    assert_off(&schedule);
    schedule.call_ended(clock.advance(10));
    assert!(!schedule.state().active);
    assert_armed(&schedule, &clock, 40 + INTERVAL_MS);
}

#[test]
fn a_manual_warm_takes_the_same_path_as_an_automatic_one() {
    let (mut schedule, mut clock) = schedule(true);
    schedule.begin_manual(clock.advance(1_000)).unwrap();
    assert_eq!(
        schedule.next_timeout(),
        None,
        "the timer does not fire during a warm"
    );
    schedule.end_warm(warmed(), clock.advance(20));
    assert_armed(&schedule, &clock, 1_020 + INTERVAL_MS);
    let state = schedule.state();
    assert_eq!(state.last_warm_at, Some(EPOCH_MS + 1_020));
    assert_eq!(state.last_result, Some(warmed()));
    assert_eq!(state.history[0].trigger, WarmTrigger::Manual);
    assert_eq!(state.change, 1, "it is a change");
}

#[test]
fn a_manual_warm_while_disabled_updates_the_result_and_arms_nothing() {
    let (mut schedule, mut clock) = schedule(false);
    schedule.begin_manual(clock.advance(1_000)).unwrap();
    schedule.end_warm(warmed(), clock.advance(20));
    assert_off(&schedule);
    let state = schedule.state();
    assert_eq!(
        (state.last_warm_at, state.last_result.clone(), state.change),
        (Some(EPOCH_MS + 1_020), Some(warmed()), 1)
    );
}

#[test]
fn a_manual_warm_while_a_call_runs_is_busy() {
    for enabled in [true, false] {
        let (mut schedule, mut clock) = schedule(enabled);
        schedule.call_started(clock.advance(5));
        let before = schedule.state().clone();
        assert_eq!(schedule.begin_manual(clock.advance(5)), Err(WarmRefusal::Busy));
        assert_eq!(*schedule.state(), before);
    }
}

#[test]
fn a_manual_warm_while_another_warm_runs_is_refused() {
    let (mut schedule, mut clock) = schedule(true);
    schedule.begin_manual(clock.advance(5)).unwrap();
    assert_eq!(schedule.begin_manual(clock.advance(5)), Err(WarmRefusal::Warming));
}

#[test]
fn a_failure_sets_the_result_and_not_the_time_and_arms_the_timer() {
    let (mut schedule, mut clock) = schedule(true);
    assert!(schedule.begin_due(clock.advance(INTERVAL_MS)));
    schedule.end_warm(warmed(), clock.now());
    let before = schedule.state().last_warm_at;
    assert!(schedule.begin_due(clock.advance(INTERVAL_MS)));
    schedule.end_warm(failed(), clock.advance(9));
    assert_armed(&schedule, &clock, 3 * INTERVAL_MS + 9);
    let state = schedule.state();
    assert_eq!(state.last_result, Some(failed()));
    assert_eq!(state.last_warm_at, before);
    assert_eq!(state.history[1].result, failed());
}

#[test]
fn a_warm_overtaken_by_a_call_is_recorded_and_does_not_arm_the_timer() {
    let (mut schedule, mut clock) = schedule(true);
    // It ends while the call runs.
    assert!(schedule.begin_due(clock.advance(INTERVAL_MS)));
    schedule.call_started(clock.advance(1));
    schedule.end_warm(warmed(), clock.advance(1));
    assert_off(&schedule);
    assert_eq!(schedule.state().history.len(), 1);
    assert_eq!(schedule.state().last_result, Some(warmed()));
    schedule.call_ended(clock.advance(1));
    assert_armed(&schedule, &clock, 2 * INTERVAL_MS + 3);
    // It ends after the call: the timer stays armed from the call's end.
    assert!(schedule.begin_due(clock.advance(INTERVAL_MS)));
    schedule.call_started(clock.advance(1));
    schedule.call_ended(clock.advance(1));
    let armed = schedule.state().next_warm_at;
    schedule.end_warm(failed(), clock.advance(100));
    assert_eq!(schedule.state().next_warm_at, armed);
    assert_armed(&schedule, &clock, 3 * INTERVAL_MS + 5);
    assert_eq!(schedule.state().history.len(), 2);
}

#[test]
fn equal_results_are_separate_entries_of_a_bounded_history() {
    let (mut schedule, mut clock) = schedule(true);
    for _ in 0..WARM_HISTORY_MAX + 3 {
        schedule.begin_manual(clock.advance(0)).unwrap();
        schedule.end_warm(warmed(), clock.now());
    }
    let history = &schedule.state().history;
    assert_eq!(history.len(), WARM_HISTORY_MAX);
    assert!(history.iter().all(|record| *record == history[0]));
    schedule.begin_manual(clock.advance(1)).unwrap();
    schedule.end_warm(failed(), clock.now());
    let history = &schedule.state().history;
    assert_eq!(history.len(), WARM_HISTORY_MAX);
    assert_eq!(history.last().unwrap().result, failed(), "the oldest one goes");
}

#[test]
fn every_change_has_a_number_and_what_is_no_change_has_none() {
    let (mut schedule, mut clock) = schedule(true);
    let now = clock.advance(1);
    schedule.set_enabled(true, now);
    schedule.set_interval(interval(INTERVAL_MS), now);
    schedule.call_ended(now);
    schedule.end_warm(warmed(), now);
    assert_eq!(schedule.state().change, 0);
    assert_armed(&schedule, &clock, INTERVAL_MS);
    schedule.set_enabled(false, now);
    schedule.set_interval(interval(1_000), now);
    schedule.call_started(now);
    schedule.call_started(now);
    schedule.call_ended(now);
    schedule.call_ended(now);
    schedule.begin_manual(now).unwrap();
    schedule.end_warm(warmed(), now);
    assert_eq!(schedule.state().change, 7);
}

#[test]
fn a_wall_clock_that_steps_back_changes_no_timer() {
    let (mut schedule, mut clock) = schedule(true);
    clock.wall_ms = 7;
    assert_eq!(
        schedule.state().next_warm_at,
        Some(EPOCH_MS + INTERVAL_MS),
        "as it was published"
    );
    assert!(!schedule.begin_due(clock.advance(INTERVAL_MS - 1)));
    assert!(schedule.begin_due(clock.advance(1)));
    schedule.end_warm(warmed(), clock.now());
    let state = schedule.state();
    assert_eq!(state.last_warm_at, Some(7 + INTERVAL_MS));
    assert_eq!(state.next_warm_at, Some(7 + 2 * INTERVAL_MS));
    // Before 1970 the wall clock reads 0, and at its end the sum stays there.
    clock.wall_ms = u64::MAX / 1_000_000;
    schedule.set_enabled(false, clock.now());
    schedule.set_enabled(true, clock.now());
    assert!(schedule.state().next_warm_at.is_some());
}

#[test]
fn a_clock_that_stands_still_warms_nothing_and_measures_zero() {
    let (mut schedule, clock) = schedule(true);
    for _ in 0..3 {
        assert!(!schedule.begin_due(clock.now()));
    }
    schedule.begin_manual(clock.now()).unwrap();
    schedule.end_warm(warmed(), clock.now());
    assert_eq!(schedule.state().history[0].duration, Duration::ZERO);
    assert!(!schedule.begin_due(clock.now()), "no loop");
}
