//! Comparisons of simulated recordings.

use super::*;
use crate::read::InputFaults;
use crate::runs::Run;
use crate::simulation::Simulation;

fn options() -> Options {
    Options::default()
}

fn compared(a: &Runs, b: &Runs) -> Comparison {
    compare(a, b, &options()).unwrap()
}

fn names<'a>(stages: impl Iterator<Item = &'a StageComparison>) -> Vec<&'a str> {
    stages.map(|stage| stage.name.as_str()).collect()
}

/// Stages of the simulation: `process.wait` is 40 % of the envelope.
const STAGE: &str = "process.wait";

#[test]
fn a_slower_stage_is_found_and_named_first() {
    let (a, b) = Simulation::new(1).slower(STAGE, 1.1).record();
    let comparison = compared(&a, &b);
    assert_eq!(
        comparison.verdict,
        Verdict::Regression,
        "{}",
        comparison.text(false)
    );
    assert_eq!(
        names(comparison.changed(Change::Slower))[0],
        STAGE,
        "{}",
        comparison.text(false)
    );
    assert_eq!(comparison.stages[0].name, STAGE);
    let measured = comparison.stages[0].measured.unwrap();
    let interval = measured.interval.unwrap();
    assert!((interval.low..=interval.high).contains(&0.1), "{interval:?}");
    assert_eq!(measured.units, 40);
    assert_eq!(comparison.verdict.exit_code(), 1);
}

#[test]
fn an_improvement_is_found_as_well_and_stands_beside_a_regression() {
    let (a, b) = Simulation::new(2)
        .slower(STAGE, 0.85)
        .slower("transit", 1.3)
        .record();
    let comparison = compared(&a, &b);
    assert_eq!(comparison.verdict, Verdict::Regression);
    assert_eq!(
        names(comparison.changed(Change::Faster)),
        [STAGE],
        "{}",
        comparison.text(false)
    );
    assert_eq!(
        names(comparison.changed(Change::Slower)),
        ["transit"],
        "{}",
        comparison.text(false)
    );
    let (a, b) = Simulation::new(2).slower(STAGE, 0.85).record();
    assert_eq!(compared(&a, &b).verdict, Verdict::Improvement);
}

#[test]
fn recordings_without_pairs_are_compared_by_block() {
    let (a, b) = Simulation::new(3).unpaired().slower(STAGE, 1.2).record();
    let comparison = compared(&a, &b);
    assert_eq!(
        (comparison.counts.design, comparison.counts.blocks),
        (Design::Unpaired, [40, 40])
    );
    assert_eq!(
        names(comparison.changed(Change::Slower)),
        [STAGE],
        "{}",
        comparison.text(false)
    );
}

#[test]
fn below_twenty_blocks_there_is_no_verdict_and_the_needed_number_is_told() {
    let (a, b) = Simulation::new(4).blocks(19).slower(STAGE, 2.0).record();
    let comparison = compared(&a, &b);
    assert_eq!(comparison.verdict, Verdict::NotEnoughData);
    assert!(
        comparison.reasons[0].starts_with("19 interleaved pairs of blocks, need 5"),
        "{:?}",
        comparison.reasons
    );
    assert!(comparison.stages.iter().all(|stage| {
        let measured = stage.measured.unwrap();
        stage.change == Change::NotEnoughData && measured.p.is_none() && measured.interval.is_none()
    }));

    let (a, b) = Simulation::new(4).blocks(12).between(0.3).record();
    let comparison = compared(&a, &b);
    let needed = comparison
        .stages
        .iter()
        .find(|stage| stage.name == STAGE)
        .unwrap()
        .needed
        .unwrap();
    assert!(needed > 150, "{needed}: blocks that deviate by 30 % need many");
    let (a, b) = Simulation::new(4).blocks(1).record();
    assert_eq!(
        compared(&a, &b).reasons,
        ["1 interleaved pairs of blocks, need at least 20"]
    );
}

#[test]
fn a_control_that_moved_makes_the_comparison_unproven() {
    let (a, b) = Simulation::new(5)
        .slower(STAGE, 1.2)
        .slower("transit", 1.2)
        .record();
    let with = |controls: &[&str]| {
        let controls = controls.iter().map(|name| (*name).to_owned()).collect();
        compare(
            &a,
            &b,
            &Options {
                controls,
                ..options()
            },
        )
    };
    let comparison = with(&["transit"]).unwrap();
    assert_eq!(comparison.verdict, Verdict::Unproven);
    assert!(
        comparison.reasons[0].contains("the control moved: transit +"),
        "{:?}",
        comparison.reasons
    );
    assert_eq!(with(&["dispatch"]).unwrap().verdict, Verdict::Regression);
    let missing = with(&["recovery", "metadata.flush"]);
    assert!(matches!(missing, Err(CompareError::UnknownControl { .. })));
    let missing = with(&["metadata.flush"]).unwrap();
    assert_eq!(
        missing.reasons,
        ["the control metadata.flush is in neither recording"]
    );
    let error = with(&["tranist"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown control stage `tranist` (did you mean `transit`?); docs/STAGES.md lists the stages"
    );
}

#[test]
fn a_change_below_either_floor_is_not_reported_as_one() {
    let (a, b) = Simulation::new(6).between(0.0).slower(STAGE, 1.1).record();
    let change = |options: Options| {
        let comparison = compare(&a, &b, &options).unwrap();
        comparison
            .stages
            .iter()
            .find(|stage| stage.name == STAGE)
            .unwrap()
            .change
    };
    assert_eq!(change(options()), Change::Slower);
    let floor_relative = 0.15;
    assert_eq!(
        change(Options {
            floor_relative,
            ..options()
        }),
        Change::BelowFloor
    );
    let floor_ns = 1e9;
    assert_eq!(
        change(Options {
            floor_ns,
            ..options()
        }),
        Change::BelowFloor
    );
}

#[test]
fn the_self_check_finds_a_recording_that_drifts() {
    let unpaired = |drift: f64| {
        let (a, b) = Simulation::new(7).unpaired().drift(drift).record();
        let self_check = true;
        compare(
            &a,
            &b,
            &Options {
                self_check,
                ..options()
            },
        )
        .unwrap()
    };
    let steady = unpaired(0.0);
    assert_eq!(steady.verdict, Verdict::Unchanged, "{}", steady.text(false));
    assert!(steady.self_check.unwrap().moved.is_empty());
    let drifting = unpaired(0.5);
    assert_eq!(drifting.verdict, Verdict::Unproven, "{}", drifting.text(false));
    assert!(
        drifting.reasons[0].starts_with("A differs from itself"),
        "{:?}",
        drifting.reasons
    );

    // Pairs are robust against drift, and so is their check.
    let (a, b) = Simulation::new(7).drift(0.5).record();
    let self_check = true;
    let paired = compare(
        &a,
        &b,
        &Options {
            self_check,
            ..options()
        },
    )
    .unwrap();
    assert_eq!(paired.verdict, Verdict::Unchanged, "{}", paired.text(false));
    let (a, b) = Simulation::new(7).blocks(39).record();
    let paired = compare(
        &a,
        &b,
        &Options {
            self_check,
            ..options()
        },
    )
    .unwrap();
    assert_eq!(paired.verdict, Verdict::NotEnoughData, "19 pairs of A against A");
}

#[test]
fn recordings_after_one_another_and_one_order_of_pairs_are_warned_of() {
    let warnings = |simulation: Simulation| {
        let (a, b) = simulation.record();
        compared(&a, &b).warnings.join("\n")
    };
    assert_eq!(warnings(Simulation::new(8)), "");
    assert!(warnings(Simulation::new(8).a_first()).contains("A ran first in 40 of 40 pairs"));
    assert!(warnings(Simulation::new(8).unpaired().apart()).contains("one recording ended before the other"));
    let all = Simulation::new(8)
        .slower(STAGE, 1.3)
        .slower("transit", 1.3)
        .slower("dispatch", 1.3);
    assert!(warnings(all).contains("all 3 changes are slower"));
}

#[test]
fn a_stage_that_one_side_has_is_named_and_one_that_it_has_more_often_is_warned_of() {
    let (a, b) = Simulation::new(9).record();
    let mut more = Runs::new();
    for (index, run) in b.iter().enumerate() {
        let stages = b.stages();
        let durations = stages
            .iter()
            .map(|stage| (*stage, b.duration(index, stage).unwrap()));
        let recover = [("connect.dial", 1_000_000), ("process.close", 5)];
        more.add(run.clone(), durations.chain(recover.into_iter().take(index % 3)));
    }
    let comparison = compared(&a, &more);
    let dial = comparison
        .stages
        .iter()
        .find(|stage| stage.name == "connect.dial")
        .unwrap();
    assert_eq!((dial.change, dial.a.runs), (Change::OnlyInB, 0));
    assert!(
        comparison.warnings[0].starts_with("connect.dial is in 0 % of A's runs and in 6"),
        "{:?}",
        comparison.warnings
    );
}

#[test]
fn the_order_of_the_runs_changes_nothing_and_the_same_input_gives_the_same_bytes() {
    let (a, b) = Simulation::new(10).slower(STAGE, 1.1).record();
    let mut order: Vec<usize> = (0..a.len()).collect();
    crate::stats::Random::new(1).shuffle(&mut order);
    let mut shuffled = Runs::new();
    for index in order {
        let stages = a.stages();
        let durations = stages
            .iter()
            .rev()
            .map(|stage| (*stage, a.duration(index, stage).unwrap()));
        shuffled.add(a.run(index).clone(), durations);
    }
    let (one, other) = (compared(&a, &b), compared(&shuffled, &b));
    assert_eq!(one.json().to_string(), other.json().to_string());
    assert_eq!(one.text(false), other.text(false));
    assert_eq!(one.markdown(), other.markdown());
}

#[test]
fn a_side_without_runs_is_an_error() {
    let (a, _) = Simulation::new(11).record();
    assert_eq!(
        compare(&a, &Runs::new(), &options()),
        Err(CompareError::NoRuns { side: "B" })
    );
}

#[test]
fn a_stage_of_zero_length_is_no_infinite_change() {
    let mut sides = [Runs::new(), Runs::new()];
    for (side, runs) in sides.iter_mut().enumerate() {
        for block in 0..20 {
            let run = Run {
                block: block.to_string(),
                ..Run::default()
            };
            runs.add(
                run,
                [("call", if side == 0 { 0 } else { 2_000_000 }), ("transit", 0)],
            );
        }
    }
    let comparison = compared(&sides[0], &sides[1]);
    assert_eq!(comparison.verdict, Verdict::Regression);
    let text = comparison.json().to_string();
    assert!(
        !comparison.text(false).contains("inf") && !comparison.text(false).contains("NaN"),
        "{text}"
    );
}

#[test]
fn the_text_shows_change_interval_and_verdict() {
    let (a, b) = Simulation::new(12).slower(STAGE, 1.25).record();
    let text = compared(&a, &b).text(false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "A: 200 runs. B: 200 runs. 40 interleaved pairs.");
    assert!(
        lines[3].starts_with("process.wait") && lines[3].ends_with("0.001  slower"),
        "{text}"
    );
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("verdict: regression: slower: process.wait +2"),
        "{text}"
    );
    let markdown = compared(&a, &b).markdown();
    assert!(
        markdown.starts_with("**regression**: slower: process.wait +2"),
        "{markdown}"
    );
    assert!(markdown.contains("\n| process.wait | "), "{markdown}");
}

#[test]
fn a_half_read_side_is_said_in_every_form_with_its_counts() {
    let (a, b) = Simulation::new(12).record();
    let (_, summary) = crate::test_traces::read(&["{}", "{\"resourceSpans\":[\n{\n"]);
    let mut faults = InputFaults::default();
    faults.add(&summary);
    let comparison = compared(&a, &b).with_faults([InputFaults::default(), faults]);
    let sentence = "warning: B: 2 of 2 input files were read in part: file0 (1 fault, in line 1), file1 (";
    for shown in [comparison.text(false), comparison.markdown()] {
        assert!(shown.contains(sentence), "{shown}");
    }
    let json = comparison.json();
    assert_eq!(
        (&json["a"]["input"]["fault_count"], &json["a"]["input"]["files"]),
        (&0.into(), &0.into())
    );
    assert_eq!(json["b"]["input"]["files"], 2);
    assert_eq!(json["b"]["input"]["faulty_files"][0]["first_line"], 1);
    assert!(
        json["warnings"].to_string().contains("B: 2 of 2 input files"),
        "{json}"
    );
}

#[test]
fn stages_that_include_a_slow_one_are_named_after_it_and_are_no_second_sign() {
    let (a, b) = Simulation::new(12).slower(STAGE, 1.5).record();
    // `process`, `rpc` and `call` include the wait, and grow with it.
    let with_parents = |runs: &Runs| {
        let mut more = Runs::new();
        for (index, run) in runs.iter().enumerate() {
            let stages = runs.stages();
            let durations = stages
                .iter()
                .filter(|stage| **stage != "call")
                .map(|stage| (*stage, runs.duration(index, stage).unwrap()));
            let wait = runs.duration(index, STAGE).unwrap();
            let parents = [("process", wait + 5), ("rpc", wait + 9), ("call", wait + 20)];
            more.add(run.clone(), durations.chain(parents));
        }
        more
    };
    let comparison = compared(&with_parents(&a), &with_parents(&b));
    let reason = &comparison.reasons[0];
    assert!(reason.starts_with("slower: process.wait +"), "{reason}");
    let (_, consequences) = reason.split_once(", and with it ").unwrap();
    for name in ["process +", "rpc +", "call +"] {
        assert!(consequences.contains(name), "{reason}");
    }
    assert_eq!(comparison.changed(Change::Slower).count(), 4);
    assert!(
        !comparison.warnings.join("").contains("all"),
        "{:?}",
        comparison.warnings
    );
}

#[test]
fn text_for_an_ascii_locale_has_no_other_character() {
    let (a, b) = Simulation::new(12).slower(STAGE, 1.25).record();
    let text = compared(&a, &b).text(true);
    assert!(
        text.is_ascii() && text.contains(" us") && text.contains(" .. "),
        "{text}"
    );
}
