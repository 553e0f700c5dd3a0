//! Gates over hand-made runs.

use std::collections::BTreeMap;

use super::*;
use crate::read::InputFaults;
use crate::runs::{Run, Runs};
use crate::simulation::Simulation;
use crate::test_traces::{call, line, read};

const DAY_NS: u64 = 86_400_000_000_000;

/// A run of the second turn in production: the durations of starting, of session init and of the output, in ms.
fn family(index: u64, [ready, init, output]: [u64; 3]) -> (Run, [(&'static str, u64); 3]) {
    let run = Run {
        trace: format!("{index:032x}"),
        block: format!("session {}", index / 4),
        started_ns: 100 * DAY_NS + index,
        turn: Some(2),
        succeeded: true,
        attributes: BTreeMap::from([("deployment.environment.name".to_owned(), "production".to_owned())]),
        ..Run::default()
    };
    let ms = 1_000_000;
    let stages = [
        ("family.cli_ready", ready * ms),
        ("family.session_init", init * ms),
        ("family.first_output", output * ms),
    ];
    (run, stages)
}

fn production(count: u64, durations: impl Fn(u64) -> [u64; 3]) -> Runs {
    let mut runs = Runs::new();
    for index in 0..count {
        let (run, stages) = family(index, durations(index));
        runs.add(run, stages);
    }
    runs
}

fn example() -> Rules {
    Rules::parse("rules.toml", EXAMPLE).unwrap()
}

fn decided(rules: &Rules, runs: Runs) -> GateVerdict {
    let evidence = Evidence {
        runs,
        ..Evidence::default()
    };
    gate(rules, &evidence)
}

fn error(text: &str) -> String {
    Rules::parse("rules.toml", text).unwrap_err().to_string()
}

/// The least rules, with `rule` in the list of rules.
fn rules(rule: &str) -> Rules {
    Rules::parse("rules.toml", &with_rule(rule)).unwrap()
}

fn with_rule(rule: &str) -> String {
    format!(
        "[outcomes]\ngo = 0\nstop = 1\nnot_enough_data = 3\nunproven = 4\ncheck_failed = 5\n{rule}\n[otherwise]\noutcome = 'stop'\n"
    )
}

#[test]
fn the_example_enters_at_a_median_share_of_30_percent() {
    let verdict = decided(&example(), production(40, |_| [40, 30, 30]));
    assert_eq!(
        (verdict.outcome.as_str(), verdict.exit_code),
        ("enter", 0),
        "{}",
        verdict.text()
    );
    assert_eq!(
        verdict.sentence,
        "p50 of family.session_init / spawn_to_first_output is 30.0 % (95 % interval 30.0 % to 30.0 %, 40 runs in 10 \
         blocks), at least 30.0 %"
    );
    assert_eq!(verdict.by_set.as_deref(), Some("production"));
    assert!(verdict.conclusion.unwrap().starts_with("Session init dominates"));
    assert_eq!(verdict.trace_count, 40);
}

#[test]
fn the_example_enters_at_a_p90_share_of_40_percent() {
    // Five of 40 runs spend 40 %: p50 is 10 %, p90 is 40 %.
    let verdict = decided(
        &example(),
        production(40, |run| if run < 5 { [30, 40, 30] } else { [30, 10, 60] }),
    );
    assert_eq!(verdict.outcome, "enter", "{}", verdict.text());
    assert!(
        verdict.sentence.starts_with("p90 of family.session_init"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn the_example_asks_for_a_warm_pool_if_starting_dominates() {
    let verdict = decided(&example(), production(40, |_| [60, 10, 30]));
    assert_eq!(
        (verdict.outcome.as_str(), verdict.exit_code),
        ("warm_pool", 1),
        "{}",
        verdict.text()
    );
    assert_eq!(
        verdict.sentence,
        "the median share of family.cli_ready in spawn_to_first_output is 60.0 %, above that of family.first_output, \
         30.0 %"
    );
}

#[test]
fn the_example_stops_otherwise_with_a_recorded_conclusion() {
    let verdict = decided(&example(), production(40, |_| [30, 10, 60]));
    assert_eq!(
        (verdict.outcome.as_str(), verdict.exit_code),
        ("stop", 1),
        "{}",
        verdict.text()
    );
    assert!(
        verdict
            .sentence
            .starts_with("no rule holds: p50 of family.session_init"),
        "{}",
        verdict.sentence
    );
    assert!(verdict.conclusion.as_ref().unwrap().contains("do not build it"));
    assert!(
        verdict.json()["conclusion"]
            .as_str()
            .unwrap()
            .contains("do not build it")
    );
}

#[test]
fn fewer_than_30_pairs_are_not_enough() {
    let verdict = decided(&example(), production(29, |_| [10, 80, 10]));
    assert_eq!(
        (verdict.outcome.as_str(), verdict.exit_code),
        (NOT_ENOUGH_DATA, 3)
    );
    assert!(
        verdict.sentence.contains("29 pairs in production, need 30"),
        "{}",
        verdict.sentence
    );

    // A run without one of the durations is no pair.
    let mut runs = production(29, |_| [10, 80, 10]);
    let (run, stages) = family(29, [10, 80, 10]);
    runs.add(run, stages.into_iter().take(2));
    assert!(decided(&example(), runs).sentence.contains("29 pairs"));
    assert_eq!(
        decided(&example(), production(30, |_| [10, 80, 10])).outcome,
        "enter"
    );
}

#[test]
fn a_known_stage_that_no_run_has_is_not_enough_data() {
    let mut runs = Runs::new();
    for index in 0..40 {
        let (run, stages) = family(index, [10, 80, 10]);
        runs.add(
            run,
            stages
                .into_iter()
                .filter(|(stage, _)| *stage != "family.session_init"),
        );
    }
    let verdict = decided(&example(), runs);
    assert_eq!(verdict.outcome, NOT_ENOUGH_DATA);
    assert!(
        verdict
            .sentence
            .contains("no run of production has the stage family.session_init"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn first_turns_failed_runs_and_old_runs_are_not_in_the_population() {
    let mut runs = production(30, |_| [40, 30, 30]);
    let mut add = |change: fn(&mut Run)| {
        let (mut run, stages) = family(20, [80, 1, 19]);
        change(&mut run);
        runs.add(run, stages);
    };
    add(|run| run.turn = Some(1));
    add(|run| run.turn = None);
    add(|run| run.succeeded = false);
    add(|run| run.started_ns -= 7 * DAY_NS);
    add(|run| run.attributes.clear());
    let verdict = decided(&example(), runs);
    assert_eq!(
        (verdict.runs, verdict.chosen, verdict.trace_count),
        (35, 30, 30),
        "{}",
        verdict.text()
    );
    let left_out = |reason: &str| {
        verdict
            .left_out
            .iter()
            .filter(|(one, count)| one == reason && *count == 1)
            .count()
    };
    for reason in [
        "another turn",
        "no turn",
        "did not succeed",
        "before the window",
        "no deployment.environment.name",
    ] {
        assert_eq!(left_out(reason), 1, "{reason}: {:?}", verdict.left_out);
    }
}

fn staging(mut runs: Runs, count: u64, durations: [u64; 3]) -> Runs {
    for index in 0..count {
        let (mut run, stages) = family(1_000 + index, durations);
        run.attributes
            .insert("deployment.environment.name".to_owned(), "staging".to_owned());
        runs.add(run, stages);
    }
    runs
}

#[test]
fn production_decides_if_the_sets_disagree() {
    let runs = staging(production(40, |_| [30, 10, 60]), 40, [10, 80, 10]);
    let verdict = decided(&example(), runs);
    assert_eq!(verdict.outcome, "stop");
    assert!(
        verdict.text().contains("\nstaging disagrees: enter: p50"),
        "{}",
        verdict.text()
    );
}

#[test]
fn without_the_deciding_set_there_is_not_enough_data() {
    let verdict = decided(&example(), staging(Runs::new(), 40, [10, 80, 10]));
    assert_eq!(verdict.outcome, NOT_ENOUGH_DATA);
    assert_eq!(
        verdict.sentence,
        "the deciding set production has no runs; there is staging: enter (40 runs)"
    );
    // As does a deciding set with too few pairs, whatever another one says.
    let verdict = decided(
        &example(),
        staging(production(3, |_| [10, 80, 10]), 40, [10, 80, 10]),
    );
    assert_eq!(verdict.outcome, NOT_ENOUGH_DATA);
    assert_eq!(
        decided(&example(), Runs::new()).sentence,
        "no run is in the population"
    );
}

#[test]
fn sets_that_disagree_without_a_deciding_one_are_not_enough() {
    let rules = Rules::parse("rules.toml", &EXAMPLE.replace("decides = \"production\"", "")).unwrap();
    let verdict = decided(
        &rules,
        staging(production(40, |_| [30, 10, 60]), 40, [10, 80, 10]),
    );
    assert_eq!(verdict.outcome, NOT_ENOUGH_DATA);
    assert!(
        verdict
            .sentence
            .contains("production: stop (40 runs), staging: enter (40 runs)"),
        "{}",
        verdict.sentence
    );
    let verdict = decided(
        &rules,
        staging(production(40, |_| [10, 80, 10]), 40, [10, 80, 10]),
    );
    assert_eq!(verdict.outcome, "enter");
}

#[test]
fn the_same_input_gives_the_same_bytes_in_any_order() {
    let runs = || production(60, |run| [40, 20 + run % 23, 30]);
    let first = decided(&example(), runs());
    let mut reversed = Runs::new();
    for index in (0..60).rev() {
        let (run, stages) = family(index, [40, 20 + index % 23, 30]);
        reversed.add(run, stages.into_iter().rev());
    }
    let second = decided(&example(), reversed);
    assert_eq!(first.json().to_string(), second.json().to_string());
    assert_eq!(first.text(), second.text());
}

#[test]
fn all_conditions_of_all_must_hold_and_one_that_cannot_be_judged_is_not_enough() {
    let all = "[[rule]]\noutcome = 'go'\nall = [\n\
        { stage = 'family.cli_ready', statistic = 'p50', at_most = '50ms' },\n\
        { stage = 'family.session_init', statistic = 'p90', at_least = '20ms' },\n]";
    let all = rules(all);
    let outcome = |durations| decided(&all, production(10, |_| durations)).outcome;
    assert_eq!(outcome([50, 20, 1]), "go");
    assert_eq!(outcome([51, 20, 1]), "stop");
    assert_eq!(outcome([50, 19, 1]), "stop");

    let unknown = "[[rule]]\noutcome = 'go'\nall = [\n\
        { stage = 'process.spawn', statistic = 'p50', at_most = '50ms' },\n\
        { stage = 'family.session_init', statistic = 'p90', at_least = '20ms' },\n]";
    let any = rules(&unknown.replace("all =", "any ="));
    let unknown = rules(unknown);
    let outcome = |rules, init| decided(rules, production(10, |_| [50, init, 1])).outcome;
    assert_eq!(outcome(&unknown, 20), NOT_ENOUGH_DATA);
    assert_eq!(outcome(&unknown, 19), "stop", "the absent stage cannot save it");
    assert_eq!(outcome(&any, 20), "go", "the absent stage cannot spoil it");
    assert_eq!(outcome(&any, 19), NOT_ENOUGH_DATA);
}

#[test]
fn a_share_of_next_to_nothing_is_below_the_floor() {
    let rule = "[[rule]]\noutcome = 'go'\nall = [{ share = 'family.session_init', of = 'family.first_output', \
        statistic = 'p50', at_least = '50 %', floor = '5ms' }]";
    let outcome = |init| decided(&rules(rule), production(10, |_| [1, init, 6]));
    assert_eq!(outcome(5).outcome, "go");
    let verdict = outcome(4);
    assert_eq!(verdict.outcome, "stop");
    assert!(
        verdict
            .sentence
            .ends_with("but it is 4.0 ms, below the floor of 5.0 ms"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn a_half_read_input_decides_only_if_the_rules_allow_it() {
    let rule = "[[rule]]\noutcome = 'go'\nall = [{ stage = 'family.cli_ready', statistic = 'p50', at_most = '50ms' }]";
    let (_, summary) = read(&["{\"resourceSpans\":[", &line(&call())]);
    let mut faults = InputFaults::default();
    faults.add(&summary);
    let evidence = Evidence {
        runs: production(10, |_| [50, 1, 1]),
        faults,
        ..Evidence::default()
    };
    let verdict = gate(&rules(rule), &evidence);
    assert_eq!(
        (verdict.outcome.as_str(), verdict.exit_code),
        (NOT_ENOUGH_DATA, 3)
    );
    assert!(
        verdict.sentence.starts_with(
            "1 of 2 input files was read in part: file0 (1 fault, in line 1); record them again, or set"
        ),
        "{}",
        verdict.sentence
    );
    assert!(
        verdict.sentence.contains("; else go: p50 of"),
        "{}",
        verdict.sentence
    );
    assert_eq!((verdict.conclusion, verdict.rule_line), (None, None));

    let allowed = gate(
        &rules(&format!("[population]\nhalf_read = true\n{rule}")),
        &evidence,
    );
    assert_eq!(allowed.outcome, "go");
    assert!(
        allowed
            .text()
            .contains("\ninput: 1 of 2 input files was read in part: file0 (1 fault, in line 1)\n"),
        "{}",
        allowed.text()
    );
    let input = &allowed.json()["input"];
    assert_eq!((&input["files"], &input["fault_count"]), (&2.into(), &1.into()));
    assert_eq!(input["faulty_files"][0]["file"], "file0");
}

#[test]
fn a_correctness_check_must_have_run_and_passed() {
    let rules = rules(
        "[[rule]]\noutcome = 'go'\nchecks = ['same output']\nall = [{ stage = 'family.cli_ready', statistic = 'p50', \
         at_most = '50ms' }]",
    );
    let outcome = |checks: &[(&str, bool)]| {
        let evidence = Evidence {
            runs: production(10, |_| [50, 1, 1]),
            checks: checks
                .iter()
                .map(|(name, passed)| ((*name).to_owned(), *passed))
                .collect(),
            ..Evidence::default()
        };
        gate(&rules, &evidence)
    };
    assert_eq!(outcome(&[("same output", true)]).outcome, "go");
    assert_eq!(outcome(&[("same output", false)]).exit_code, 5);
    let verdict = outcome(&[("another", true)]);
    assert_eq!(verdict.outcome, NOT_ENOUGH_DATA);
    assert!(
        verdict
            .sentence
            .starts_with("the correctness check same output did not run"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn minima_of_runs_and_blocks_hold_for_each_set() {
    let rule = "[[rule]]\noutcome = 'go'\nall = [{ stage = 'family.cli_ready', \
        statistic = 'p50', at_most = '50ms' }]";
    let rules = Rules::parse(
        "r",
        &format!("minimum = {{ runs = 20, blocks = 6 }}\n{}", with_rule(rule)),
    )
    .unwrap();
    let sentence = |count| decided(&rules, production(count, |_| [50, 1, 1])).sentence;
    assert_eq!(sentence(19), "19 runs in all runs, need 20");
    assert_eq!(sentence(20), "5 blocks in all runs, need 6");
    assert!(sentence(21).starts_with("p50 of family.cli_ready is 50 ms"));
}

/// The two sides of a simulated recording as the sets `main` and `change`.
fn sides(simulation: Simulation) -> Runs {
    let (a, b) = simulation.record();
    let mut both = Runs::new();
    for (side, runs) in [("main", a), ("change", b)] {
        for (index, run) in runs.iter().enumerate() {
            let mut run = run.clone();
            run.attributes.insert("side".to_owned(), side.to_owned());
            let stages = runs.stages();
            both.add(
                run,
                stages
                    .iter()
                    .filter_map(|stage| Some((*stage, runs.duration(index, stage)?))),
            );
        }
    }
    both
}

fn difference(condition: &str) -> Rules {
    rules(&format!(
        "[sets]\nattribute = 'side'\n[[rule]]\noutcome = 'go'\nall = [{{ difference = 'process.wait', from = 'main', to = \
         'change', {condition} }}]"
    ))
}

#[test]
fn a_difference_holds_beyond_noise_only() {
    let outcome = |condition: &str, factor| {
        let runs = sides(Simulation::new(3).slower("process.wait", factor));
        decided(&difference(condition), runs)
    };
    let slower = outcome("at_least = '5 %'", 1.1);
    assert_eq!(slower.outcome, "go", "{}", slower.text());
    assert!(
        slower
            .sentence
            .starts_with("the change of process.wait from main to change is "),
        "{}",
        slower.sentence
    );
    assert_eq!(outcome("at_least = '5 %'", 1.0).outcome, "stop");
    assert_eq!(outcome("at_least = '300us'", 1.1).outcome, "go");
    assert_eq!(outcome("at_least = '3ms'", 1.1).outcome, "stop");
    // At most 5 % must be certain: the upper bound of the interval decides.
    assert_eq!(outcome("at_most = '5 %'", 1.0).outcome, "go");
    assert_eq!(outcome("at_most = '1 %'", 1.0).outcome, "stop");
    assert_eq!(outcome("at_most = '-5 %'", 0.85).outcome, "go");
}

#[test]
fn a_difference_with_few_blocks_or_a_moved_control_decides_nothing() {
    let few = decided(
        &difference("at_least = '5 %'"),
        sides(Simulation::new(3).blocks(19)),
    );
    assert_eq!(few.outcome, NOT_ENOUGH_DATA);
    assert!(
        few.sentence.contains("19 interleaved pairs of blocks, need"),
        "{}",
        few.sentence
    );
    let moved = Simulation::new(3)
        .slower("process.wait", 1.1)
        .slower("transit", 1.2);
    let moved = decided(
        &difference("at_least = '5 %', controls = ['transit']"),
        sides(moved),
    );
    assert_eq!(
        (moved.outcome.as_str(), moved.exit_code),
        (UNPROVEN, 4),
        "{}",
        moved.text()
    );
    let missing = decided(&difference("at_least = '5 %'"), production(1, |_| [1, 1, 1]));
    assert_eq!(missing.outcome, NOT_ENOUGH_DATA, "{}", missing.text());
}

#[test]
fn an_unknown_stage_is_an_error_with_file_line_and_the_near_one() {
    let line = EXAMPLE
        .lines()
        .position(|line| line.contains("share = \"family.session_init\""))
        .unwrap()
        + 1;
    let message = error(&EXAMPLE.replacen(
        "share = \"family.session_init\"",
        "share = \"family.sesion_init\"",
        1,
    ));
    let expected = format!(
        "rules.toml:{line}: unknown stage `family.sesion_init` (did you mean `family.session_init`?); docs/STAGES.md"
    );
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn stages_of_the_authors_services_are_declared() {
    let rule =
        "[[rule]]\noutcome = 'go'\nall = [{ stage = 'my.parse', statistic = 'p50', at_most = '50ms' }]";
    assert!(error(&with_rule(rule)).contains("unknown stage `my.parse`"));
    let rules = Rules::parse("r", &format!("own_stages = ['my.parse']\n{}", with_rule(rule))).unwrap();
    let mut runs = Runs::new();
    runs.add(Run::default(), [("my.parse", 1)]);
    assert_eq!(decided(&rules, runs).outcome, "go");
}

#[test]
fn what_is_wrong_with_rules_is_said_with_its_line() {
    let rule = |condition: &str| with_rule(&format!("[[rule]]\noutcome = 'go'\nany = [{condition}]"));
    let p50 = "stage = 'transit', statistic = 'p50', at_most = '1ms'";
    for (text, expected) in [
        ("[outcomes\n".to_owned(), "rules.toml:1: no valid TOML"),
        ("a = 1\n".to_owned(), "rules.toml:1: there is no [outcomes]"),
        (
            "\n[outcomes]\ngo = 0".to_owned(),
            "rules.toml:2: [outcomes] has no `not_enough_data`",
        ),
        (
            "[outcomes]\nnot_enough_data = 3\ngo = 2".to_owned(),
            "rules.toml:3: an exit code must be from 0 to 125",
        ),
        (with_rule(""), "rules.toml:1: there is no [[rule]]"),
        (
            with_rule("[[rule]]\noutcome = 'go'"),
            "rules.toml:7: a rule needs either `any` or `all`",
        ),
        (rule(""), "rules.toml:7: a rule needs either `any` or `all`"),
        (
            rule("{ stage = 'transit' }"),
            "rules.toml:9: `any` has no `statistic`",
        ),
        (
            rule(&format!("{{ {p50}, at_least = '1ms' }}")),
            "rules.toml:9: a condition has exactly one of `at_least`",
        ),
        (
            rule(&format!("{{ {p50}, share = 'rpc' }}")),
            "rules.toml:9: a condition has exactly one of `stage`",
        ),
        (
            rule(&format!("{{ {p50}, at_mots = '1ms' }}")),
            "rules.toml:9: `any` knows no `at_mots` (did you mean `at_most`?)",
        ),
        (
            rule(&format!("{{ {} }}", p50.replace("1ms", "1"))),
            "rules.toml:9: this must be a duration",
        ),
        (
            rule(&format!("{{ {} }}", p50.replace("p50", "median"))),
            "rules.toml:9: `median` is not a quantile",
        ),
        (
            rule("{ dominant = 'rpc', of = 'rpc' }"),
            "rules.toml:9: `rpc` can be dominant only in an interval",
        ),
        (
            rule("{ difference = 'rpc', from = 'a', to = 'a', at_most = '1 %' }"),
            "rules.toml:9: a difference is between two sets, and both are `a`",
        ),
        (
            rule("{ difference = 'rpc', from = 'a', to = 'b', at_most = '1 %' }"),
            "rules.toml:9: a difference is between two sets, and there is no [sets]",
        ),
        (
            with_rule("[[rule]]\noutcome = 'og'\nany = []"),
            "rules.toml:8: the outcome `og` has no exit code in [outcomes] (known: `check_failed`, `go`,",
        ),
        (
            format!("{}[population]\nturns = '9..2'", rule(&format!("{{ {p50} }}"))),
            "rules.toml:13: `turns` is a range",
        ),
        (
            "x".repeat(1024 * 1024 + 1),
            "rules.toml:1: the rules have 1048577 bytes",
        ),
    ] {
        let message = error(&text);
        assert!(
            message.starts_with(expected),
            "{message}\nfor {expected}\nof {text:.300}"
        );
    }
}
