use baton_trace::stage::exec::*;
use baton_trace::stage::transport::*;

use super::*;
use crate::test_traces::{Made, call, other, stage, trace};

fn figures(spans: &[Made]) -> CallFigures {
    let trace = trace(spans);
    let tree = Tree::of(&trace);
    let calls = tree.calls(&trace);
    let [call] = &calls[..] else { panic!("{calls:?}") };
    measure(&trace, &tree, call).unwrap()
}

/// Without what the client told about itself.
fn untold(keys: &[&str]) -> Vec<Made> {
    let mut spans = call();
    spans[0]
        .attributes
        .retain(|(key, _)| !keys.contains(&key.as_str()));
    spans
}

const REMAINDER: &str = "baton.remainder_ns";
const CLOCK: [&str; 2] = ["baton.clock.offset_ns", "baton.clock.error_ns"];

/// Stage, duration, self time, critical-path time; in microseconds.
type Row = (StageId, u64, u64, u64);

/// Worked out by hand from `test_traces::call`. Everything between two stages is 1 µs.
const WHOLE: [Row; 20] = [
    (DISPATCH, 49, 49, 49),
    (CLIENT_QUEUE, 9, 9, 9),
    (CLIENT_SEAL, 9, 9, 9),
    // 99 less twice 9 of the relay.
    (TRANSIT, 99, 81, 81),
    (RELAY_QUEUE, 9, 9, 9),
    (RELAY_FORWARD, 9, 9, 9),
    (SERVER_OPEN, 9, 9, 9),
    (SERVER_QUEUE, 9, 9, 9),
    // Four gaps between its five children.
    (RPC, 659, 4, 4),
    (TERMINAL_QUEUE, 9, 9, 9),
    (TERMINAL_SEAL, 9, 9, 9),
    (TERMINAL_TRANSIT, 99, 99, 99),
    (TERMINAL_OPEN, 19, 19, 19),
    (TERMINAL_NOTIFY, 49, 49, 49),
    // Two gaps: its output is beside the wait, and not on the path.
    (PROCESS, 619, 2, 2),
    (PROCESS_SPAWN, 99, 99, 99),
    (PROCESS_FIRST_OUTPUT, 110, 110, 0),
    (PROCESS_STDOUT, 300, 300, 0),
    (PROCESS_WAIT, 499, 499, 499),
    (PROCESS_CLOSE, 19, 19, 19),
];

fn rows(figures: &CallFigures) -> Vec<Row> {
    let us = |ns: u64| {
        assert_eq!(ns % 1_000, 0);
        ns / 1_000
    };
    let row = |stage: &StageFigures| {
        let path = stage.path_ns.expect("a path");
        (stage.stage, us(stage.duration_ns), us(stage.self_ns), us(path))
    };
    figures.stages.iter().map(row).collect()
}

fn whole() -> Vec<Row> {
    let mut rows = WHOLE.to_vec();
    rows.sort();
    rows
}

#[test]
fn every_figure_of_a_whole_call_is_exact() {
    let figures = figures(&call());
    assert_eq!(rows(&figures), whole());
    assert_eq!(figures.envelope_ns, Some(1_000_000));
    assert_eq!(
        (figures.remainder_ns, figures.is_remainder_told),
        (Some(10_000), true)
    );
    // All that is on the path is the envelope: 986 µs of stages that cover, 4 + 2 of rpc and process, and 8 of `call`
    // itself: seven gaps between its eight children, and 1 µs after the last.
    let path: u64 = rows(&figures).iter().map(|(.., path)| path).sum();
    assert_eq!(path + 8, 1_000);
    let below = |stage| figures.stage(stage).unwrap().path_below_ns;
    assert_eq!(below(RPC), Some(659_000));
    assert_eq!(below(PROCESS), Some(619_000));
    assert_eq!(below(TRANSIT), Some(99_000));
}

#[test]
fn a_remainder_that_is_not_told_is_what_no_covering_stage_covers() {
    // 1,000 − (49+9+9 + 99 + 9+9 + 99+499+19 + 9+9 + 99 + 19+49) = 1,000 − 986.
    let figures = figures(&untold(&[REMAINDER]));
    assert_eq!(
        (figures.remainder_ns, figures.is_remainder_told),
        (Some(14_000), false)
    );
}

#[test]
fn overlaps_count_once() {
    // `dispatch` to 63: over all of `client.queue` and 3 µs of `client.seal`. It adds the gaps before both (1 + 1 µs).
    let mut spans = untold(&[REMAINDER]);
    spans[1].end_ns += 14_000;
    let figures = figures(&spans);
    assert_eq!(figures.remainder_ns, Some(12_000));
    // Of the path: `client.seal` 60–69, then what ends at or before 60: `client.queue`, then `dispatch` ends at 63 > 50.
    let of = |stage| figures.stage(stage).unwrap().path_ns;
    assert_eq!(
        (of(CLIENT_SEAL), of(CLIENT_QUEUE), of(DISPATCH)),
        (Some(9_000), Some(9_000), Some(0))
    );
}

#[test]
fn stages_in_contact_are_all_on_the_path() {
    // As in a trace file: nanoseconds, and no gap. The server's stages are told by the client.
    let mut spans = untold(&[REMAINDER]);
    for span in &mut spans {
        if span.part == "server" {
            span.part = "reported".to_owned();
        }
        if ![1, 14].contains(&span.id) {
            span.end_ns += if span.id == 13 { 0 } else { 1_000 };
        }
    }
    let figures = figures(&spans);
    // 14 covering stages of 1 µs more each: only the first µs after the last one remains: none.
    assert_eq!(figures.remainder_ns, Some(0));
    let of = |stage| figures.stage(stage).unwrap().path_ns;
    assert_eq!(
        (of(DISPATCH), of(CLIENT_QUEUE), of(PROCESS_WAIT)),
        (Some(50_000), Some(10_000), Some(500_000))
    );
    assert_eq!((of(RPC), of(PROCESS)), (Some(0), Some(0)));
}

#[test]
fn gaps_are_remainder() {
    // Without `client.queue` (9) and `terminal.open` (19).
    let mut spans = untold(&[REMAINDER]);
    spans.retain(|span| ![3, 20].contains(&span.id));
    assert_eq!(figures(&spans).remainder_ns, Some(42_000));
}

fn skewed(mut spans: Vec<Made>, ahead_us: u64) -> Vec<Made> {
    for span in spans.iter_mut().filter(|span| span.part == "server") {
        span.start_ns += ahead_us * 1_000;
        span.end_ns += ahead_us * 1_000;
    }
    spans
}

fn with_clock(mut spans: Vec<Made>, offset_ns: i64, error_ns: i64) -> Vec<Made> {
    spans[0]
        .attributes
        .retain(|(key, _)| !CLOCK.contains(&key.as_str()));
    spans[0] = spans[0]
        .clone()
        .with(CLOCK[0], offset_ns)
        .with(CLOCK[1], error_ns);
    spans
}

#[test]
fn a_skewed_clock_changes_no_figure_where_its_offset_is_known() {
    let spans = with_clock(skewed(untold(&[REMAINDER]), 3_000_000), 3_000_000_000, 20_000);
    let figures = figures(&spans);
    assert_eq!(rows(&figures), whole());
    assert_eq!(figures.remainder_ns, Some(14_000));
}

#[test]
fn an_offset_within_its_error_moves_nothing() {
    let spans = with_clock(untold(&[REMAINDER]), 19_000, 20_000);
    let figures = figures(&spans);
    assert_eq!(rows(&figures), whole());
    assert_eq!(figures.remainder_ns, Some(14_000));
}

#[test]
fn with_unknown_clocks_durations_are_known_and_places_are_not() {
    let figures = figures(&skewed(untold(&[REMAINDER, CLOCK[0], CLOCK[1]]), 5));
    assert_eq!(figures.remainder_ns, None);
    assert_eq!(figures.stage(RPC).unwrap().duration_ns, 659_000);
    assert!(figures.stages.iter().all(|stage| stage.path_ns.is_none()));
    // The client's own account still holds.
    let told = super::tests::figures(&skewed(untold(&CLOCK), 5));
    assert_eq!((told.remainder_ns, told.is_remainder_told), (Some(10_000), true));
}

#[test]
fn missing_stages_are_absent_and_not_zero() {
    let mut spans = untold(&[REMAINDER]);
    spans.retain(|span| span.part != "server");
    let figures = figures(&spans);
    let stages: Vec<_> = figures.stages.iter().map(|stage| stage.stage).collect();
    assert_eq!(
        stages,
        [
            DISPATCH,
            CLIENT_QUEUE,
            CLIENT_SEAL,
            TRANSIT,
            RELAY_QUEUE,
            RELAY_FORWARD,
            TERMINAL_TRANSIT,
            TERMINAL_OPEN,
            TERMINAL_NOTIFY
        ]
    );
    // 1,000 − (49 + 9 + 9 + 99 + 99 + 19 + 49).
    assert_eq!(figures.remainder_ns, Some(667_000));
}

#[test]
fn a_servers_half_has_durations_only() {
    let mut spans = call();
    spans.retain(|span| span.part == "server");
    let figures = figures(&spans);
    assert_eq!((figures.envelope_ns, figures.remainder_ns), (None, None));
    assert_eq!(figures.stage(PROCESS_WAIT).unwrap().duration_ns, 499_000);
    assert_eq!(figures.stage(RPC).unwrap().self_ns, 4_000);
}

#[test]
fn concurrent_children_of_a_process_count_once_and_for_its_wait() {
    let mut spans = call();
    // 200 and 150 µs, 50 of them at once.
    spans.push(other(50, 15, "compile", 300, 500));
    spans.push(other(51, 15, "link", 450, 600));
    // Below the first one, from 320 to 420.
    spans.push(other(52, 50, "parse", 320, 420));
    let figures = figures(&spans);
    let wait = figures.stage(PROCESS_WAIT).unwrap();
    // 499 − (600 − 300).
    assert_eq!(wait.self_ns, 199_000);
    // Its own 600–789 and 290–450, and 150 of `link`, after which `compile` is left out.
    assert_eq!(wait.path_ns, Some(499_000));
    assert_eq!(figures.stages.len(), 20);
}

#[test]
fn attempts_of_a_stage_are_added() {
    let mut spans = call();
    spans.push(stage(60, 2, "connect.dial", 5, 10));
    spans.push(stage(61, 2, "connect.dial", 20, 30).with("baton.attempt", 1));
    let figures = figures(&spans);
    let dial = figures.stage(CONNECT_DIAL).unwrap();
    assert_eq!((dial.duration_ns, dial.path_ns), (15_000, Some(15_000)));
    assert_eq!(figures.stage(DISPATCH).unwrap().self_ns, 34_000);
}

#[test]
fn a_clock_that_ran_backwards_makes_a_call_unusable() {
    let mut spans = call();
    spans[4].end_ns = spans[4].start_ns - 1_000;
    let trace = trace(&spans);
    let tree = Tree::of(&trace);
    assert_eq!(
        measure(&trace, &tree, &tree.calls(&trace)[0]),
        Err(Unusable::Backwards)
    );
}

#[test]
fn a_cycle_of_parents_ends() {
    let mut spans = call();
    spans[7].parent = 11;
    let trace = trace(&spans);
    let tree = Tree::of(&trace);
    for call in tree.calls(&trace) {
        let _ = measure(&trace, &tree, &call);
    }
}
