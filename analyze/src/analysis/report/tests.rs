use baton_trace::call_end::CallEnd;
use baton_trace::outcome::Outcome;
use baton_trace::stage::exec;

use super::*;
use crate::analysis::{Analysis, Filter, Population, Question, Versions, WhatIf};
use crate::history::{HistoryCall, HistoryStage};
use crate::test_traces::{Made, call, line, other, read, stage};

fn ask(question: Question, texts: &[&str]) -> Result<Report, Refused> {
    let (traces, summary) = read(texts);
    let mut analysis = Analysis::new(question);
    traces.iter().for_each(|trace| analysis.add(trace));
    analysis.finish(&summary)
}

/// `call`, longer by so many microseconds of `process.wait`, in a trace of its own.
fn longer(trace: u128, by_us: u64) -> Vec<Made> {
    let mut spans = call();
    for span in &mut spans {
        let stage = span
            .attributes
            .iter()
            .find(|(key, _)| key == "baton.stage")
            .map(|(_, stage)| stage.clone());
        let begins_later = [
            "process.close",
            "terminal.queue",
            "terminal.seal",
            "terminal.transit",
            "terminal.open",
            "terminal.notify",
        ];
        let ends_later = ["call", "rpc", "process", "process.wait"];
        let stage = stage
            .and_then(|stage| Some(stage.as_str()?.to_owned()))
            .unwrap_or_default();
        if begins_later.contains(&stage.as_str()) {
            span.start_ns += by_us * 1_000;
        }
        if begins_later.contains(&stage.as_str()) || ends_later.contains(&stage.as_str()) {
            span.end_ns += by_us * 1_000;
        }
        span.trace = trace;
    }
    spans
}

fn text(calls: &[Vec<Made>]) -> String {
    calls.iter().map(|spans| line(spans)).collect()
}

fn of<'a>(report: &'a Report, name: &str) -> &'a StageReport {
    report.stages.iter().find(|stage| stage.name == name).unwrap()
}

#[test]
fn figures_of_ten_calls_are_those_worked_out_by_hand() {
    // Envelopes of 1,000, 1,100, … 1,900 µs: the wait grows from 499 to 1,399.
    let calls: Vec<_> = (0..10).map(|nth| longer(nth + 1, nth as u64 * 100)).collect();
    let report = ask(Question::default(), &[&text(&calls)]).unwrap();
    assert_eq!((report.calls, report.without_envelope), (10, 0));
    let envelope = report.envelope.as_ref().unwrap();
    // Nearest rank: the 5th, 9th and 10th of ten.
    assert_eq!(
        envelope.quantiles,
        Quantiles {
            p50: 1_400_000.0,
            p90: 1_800_000.0,
            p99: 1_900_000.0
        }
    );
    assert_eq!(
        envelope.exemplars,
        Some([TraceId::from(5), TraceId::from(9), TraceId::from(10)])
    );
    let wait = of(&report, "process.wait");
    assert_eq!(
        wait.duration.quantiles,
        Quantiles {
            p50: 899_000.0,
            p90: 1_299_000.0,
            p99: 1_399_000.0
        }
    );
    assert_eq!(wait.duration.count, 10);
    // Its durations add up to 10 × 499 + 4,500 = 9,490 of 14,500.
    assert_eq!(wait.share, Some(9_490.0 / 14_500.0));
    assert_eq!(wait.path_share, wait.share);
    let share = wait.share_by_call.unwrap();
    assert!((share.p50 - 899.0 / 1_400.0).abs() < 1e-9 && (share.p99 - 1_399.0 / 1_900.0).abs() < 1e-9);
    // Output is not awaited.
    assert_eq!(of(&report, "process.stdout").path_share, Some(0.0));
    let transit = of(&report, "transit");
    assert_eq!(
        (transit.duration.quantiles.p90, transit.self_time.p90),
        (99_000.0, 81_000.0)
    );
    assert_eq!(report.remainder.as_ref().unwrap().quantiles.p99, 10_000.0);
    assert_eq!(report.remainder_share, Some(100.0 / 14_500.0));
    assert_eq!((report.remainders_told, report.remainders_unknown), (10, 0));
    let names: Vec<_> = report.stages.iter().take(4).map(|stage| stage.name).collect();
    assert_eq!(names, ["dispatch", "client.queue", "client.seal", "transit"]);
}

#[test]
fn interleaved_files_give_the_same_report_in_any_order() {
    let calls: Vec<_> = (0..7).map(|nth| longer(nth + 1, nth as u64 * 10)).collect();
    let whole = ask(Question::default(), &[&text(&calls)]).unwrap();
    // Each span alone, the calls mixed, in two files.
    let mut parts = [String::new(), String::new()];
    for nth in 0..21 {
        for (index, spans) in calls.iter().enumerate() {
            parts[(nth + index) % 2].push_str(&line(&spans[20 - nth..=20 - nth]));
        }
    }
    for texts in [[&*parts[0], &*parts[1]], [&*parts[1], &*parts[0]]] {
        assert_eq!(ask(Question::default(), &texts).unwrap(), whole);
    }
}

#[test]
fn stages_that_some_calls_lack_are_counted_and_not_zero() {
    let mut cold = longer(1, 0);
    cold.push(stage(60, 2, "connect.dial", 5, 25));
    let report = ask(Question::default(), &[&text(&[cold, longer(2, 0)])]).unwrap();
    let dial = of(&report, "connect.dial");
    assert_eq!((dial.duration.count, dial.duration.quantiles.p50), (1, 20_000.0));
    // Of the one envelope that has it.
    assert_eq!(dial.share, Some(0.02));
    let counts =
        [&report.cold, &report.warm].map(|group| group.envelope.as_ref().map(|envelope| envelope.count));
    assert_eq!(counts, [Some(1), Some(1)]);
    assert!(report.stages.iter().all(|stage| stage.name != "start.durable"));
}

#[test]
fn first_turns_are_held_against_later_ones() {
    let turn = |trace, turn: i64, by| {
        let mut spans = longer(trace, by);
        spans[0] = spans[0].clone().with("baton.turn", turn);
        spans
    };
    let calls = [turn(1, 1, 500), turn(2, 2, 0), turn(3, 3, 0), longer(4, 0)];
    let question = Question {
        by: By::Turn,
        ..Question::default()
    };
    let report = ask(question, &[&text(&calls)]).unwrap();
    let p50 = |group: &Group| {
        group
            .envelope
            .as_ref()
            .map(|envelope| (envelope.count, envelope.quantiles.p50))
    };
    assert_eq!(p50(&report.first_turn), Some((1, 1_500_000.0)));
    assert_eq!(p50(&report.later_turns), Some((2, 1_000_000.0)));
    let names: Vec<_> = report.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["1", "2", "3", "none"]);
}

#[test]
fn calls_are_grouped_by_host_label_version_and_fault() {
    let mut calls = [longer(1, 0), longer(2, 0)];
    calls[0][0].name = "make".to_owned();
    calls[1][0] = calls[1][0].clone().with("error.type", "timed_out");
    for span in &mut calls[1] {
        span.version = "1.1.0".to_owned();
    }
    for (by, groups) in [
        (By::Label, ["call", "make"]),
        (By::Fault, ["none", "timed_out"]),
        (By::Version, ["1.0.0", "1.1.0"]),
    ] {
        let mut question = Question {
            by,
            ..Question::default()
        };
        question.population.versions = Versions::All;
        let report = ask(question, &[&text(&calls)]).unwrap();
        let names: Vec<_> = report.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, groups, "{by:?}");
    }
    let question = Question {
        by: By::Host,
        ..Question::default()
    };
    let report = ask(question, &[&text(&calls)]).unwrap();
    assert_eq!(report.groups[0].name, "host-b");
}

#[test]
fn old_versions_and_given_up_calls_are_left_out_and_counted() {
    let mut calls: Vec<_> = (1..=4).map(|trace| longer(trace, 0)).collect();
    for span in &mut calls[1] {
        span.version = "0.10.0".to_owned();
    }
    for span in &mut calls[2] {
        span.version = "0.9.0".to_owned();
    }
    calls[3][0] = calls[3][0].clone().with("rpc.response.status_code", "CANCELLED");
    for order in [[0, 1, 2, 3], [2, 1, 0, 3], [3, 2, 0, 1]] {
        let ordered: Vec<_> = order.iter().map(|nth| calls[*nth].clone()).collect();
        let report = ask(Question::default(), &[&text(&ordered)]).unwrap();
        assert_eq!((report.calls, report.version.as_deref()), (1, Some("1.0.0")));
        assert_eq!((report.left_out.old_versions, report.left_out.cancelled), (2, 1));
    }
    let mut question = Question::default();
    question.population.versions = Versions::All;
    question.population.with_cancelled = true;
    assert_eq!(ask(question, &[&text(&calls)]).unwrap().calls, 4);
}

#[test]
fn windows_and_filters_select_calls() {
    let mut calls: Vec<_> = (1..=3).map(|trace| longer(trace, 0)).collect();
    for span in &mut calls[1] {
        span.start_ns += 60_000_000_000;
        span.end_ns += 60_000_000_000;
    }
    calls[2][0] = calls[2][0].clone().with("baton.thread", "nightly");
    let filter = |name: &str, value: &str| Filter {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    for (window, filters, count) in [
        (None, vec![], 3),
        (Some(0..crate::test_traces::EPOCH_NS + 1), vec![], 2),
        (None, vec![filter("baton.thread", "nightly")], 1),
        (None, vec![filter("host", "host-b"), filter("label", "call")], 3),
        (None, vec![filter("service.name", "baton-client")], 3),
    ] {
        let mut question = Question::default();
        question.population.window_ns = window;
        question.population.filters = filters.clone();
        let report = ask(question, &[&text(&calls)]).unwrap();
        assert_eq!(report.calls, count, "{filters:?}");
        assert_eq!(
            report.left_out.outside_window + report.left_out.filtered,
            3 - count
        );
    }
    let mut question = Question::default();
    question.population.filters = vec![filter("label", "nothing")];
    let refused = ask(question, &[&text(&calls)]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no call counts: left out 3 calls that a filter excludes"
    );
}

#[test]
fn what_does_not_support_an_answer_is_refused() {
    let foreign = line(&[other(1, 0, "GET /", 0, 5)]);
    assert_eq!(ask(Question::default(), &[&foreign]), Err(Refused::Bypassed(1)));

    let mut sampled = longer(1, 0);
    sampled[0].trace_state = "ot=th:c".to_owned();
    let sampled = text(&[sampled, longer(2, 100)]);
    assert_eq!(ask(Question::default(), &[&sampled]), Err(Refused::Sampled(1)));
    let weighted = || Question {
        is_weighted: true,
        ..Question::default()
    };
    let report = ask(weighted(), &[&sampled]).unwrap();
    // The sampled one stands for four.
    let envelope = report.envelope.unwrap();
    assert_eq!(
        (report.calls, envelope.count, envelope.quantiles.p50),
        (2, 5, 1_000_000.0)
    );

    let mut lacking = longer(1, 0);
    lacking.remove(10);
    let lacking = text(&[lacking, longer(2, 0)]);
    assert_eq!(
        ask(Question::default(), &[&lacking]),
        Err(Refused::Truncated { traces: 1, faults: 0 })
    );
    assert_eq!(ask(weighted(), &[&lacking]).unwrap().calls, 1);
    let mut counted = longer(1, 0);
    counted[0] = counted[0].clone().with("baton.spans", 22);
    assert!(matches!(
        ask(Question::default(), &[&line(&counted)]),
        Err(Refused::Truncated { traces: 1, .. })
    ));

    let torn = format!("{}{}", line(&longer(1, 0)), &line(&longer(2, 0))[..500]);
    assert!(matches!(
        ask(Question::default(), &[&torn]),
        Err(Refused::Truncated { faults: 1, .. })
    ));
    assert_eq!(ask(weighted(), &[&torn]).unwrap().calls, 1);
}

#[test]
fn a_servers_half_has_stages_and_no_remainder() {
    let mut spans = call();
    spans.retain(|span| span.part == "server");
    let report = ask(Question::default(), &[&line(&spans)]).unwrap();
    assert_eq!((report.calls, report.without_envelope), (1, 1));
    assert_eq!(
        (
            report.envelope.as_ref(),
            report.remainder.as_ref(),
            report.remainder_share
        ),
        (None, None, None)
    );
    let wait = of(&report, "process.wait");
    assert_eq!(
        (wait.duration.quantiles.p50, wait.share, wait.path_share),
        (499_000.0, None, None)
    );
}

#[test]
fn a_backwards_clock_is_counted_and_not_guessed() {
    let mut spans = longer(1, 0);
    spans[4].end_ns = spans[4].start_ns - 1;
    let report = ask(Question::default(), &[&text(&[spans, longer(2, 0)])]).unwrap();
    assert_eq!((report.calls, report.left_out.backwards), (1, 1));
}

#[test]
fn attributes_of_slow_calls_come_first() {
    let calls: Vec<_> = (1..=20)
        .map(|trace| {
            let is_slow = trace > 17;
            let mut spans = longer(trace, if is_slow { 5_000 } else { trace as u64 });
            spans[0] = spans[0]
                .clone()
                .with("cache", if is_slow { "miss" } else { "hit" });
            spans
        })
        .collect();
    let report = ask(Question::default(), &[&text(&calls)]).unwrap();
    let first = &report.attributes[..2];
    assert_eq!(
        (first[0].value.as_str(), first[1].value.as_str()),
        ("hit", "miss")
    );
    assert_eq!((first[1].slow_share, first[1].fast_share), (1.0, 0.0));
    assert!(
        report
            .attributes
            .iter()
            .all(|ranked| ranked.key != "service.instance.id")
    );
}

#[test]
fn a_stage_changed_in_thought_changes_the_envelope() {
    let question = Question {
        what_if: vec![
            "process.wait=-100us".parse::<WhatIf>().unwrap(),
            "process.stdout=-100us".parse().unwrap(),
        ],
        ..Question::default()
    };
    let report = ask(question, &[&text(&[longer(1, 0), longer(2, 100)])]).unwrap();
    let p50: Vec<_> = report
        .what_if
        .iter()
        .map(|what_if| what_if.envelope.quantiles.p50)
        .collect();
    // Output is not awaited, so it would gain nothing.
    assert_eq!(p50, [900_000.0, 1_000_000.0]);
}

#[test]
fn more_than_ten_thousand_calls_are_within_one_percent() {
    let mut analysis = Analysis::new(Question::default());
    let count = crate::limits::EXACT_VALUES as u128 + 2_000;
    let mut traces = Vec::new();
    for nth in 0..8 {
        traces.push(crate::test_traces::trace(&longer(nth + 1, 1_000 << nth)));
    }
    for nth in 0..count {
        analysis.add(&traces[(nth % 8) as usize]);
    }
    let (_, summary) = read(&[&line(&call())]);
    let report = analysis.finish(&summary).unwrap();
    let envelope = report.envelope.unwrap();
    assert!(!envelope.is_exact && u128::from(envelope.count) == count);
    // The fourth and the eighth of eight.
    for (found, exact) in [
        (envelope.quantiles.p50, 9_000_000.0),
        (envelope.quantiles.p99, 129_000_000.0),
    ] {
        assert!((found - exact).abs() <= exact * 0.01, "{found} {exact}");
    }
    assert_eq!(envelope.exemplars.unwrap()[0], traces[3].id());
    let share = report
        .stages
        .iter()
        .find(|stage| stage.name == "process.wait")
        .unwrap()
        .share_by_call
        .unwrap();
    assert!((share.p50 - 8_499.0 / 9_000.0).abs() < 0.01, "{share:?}");
}

fn command(process: u8, turn: u64, spawn_ns: u64) -> HistoryCall {
    let stage = |stage, start_ns, duration_ns| HistoryStage {
        stage,
        start_ns,
        duration_ns,
    };
    HistoryCall {
        process: [process; 16],
        accepted_ns: 1_000_000_000 * u64::from(process),
        program: "make".to_owned(),
        turn: Some(turn),
        outcome: Some(Outcome::Exited { code: 0 }),
        stages: vec![
            stage(transport::SERVER_OPEN, 0, 10),
            stage(exec::PROCESS_SPAWN, 30, spawn_ns),
            stage(exec::PROCESS, 20, 1_000 + spawn_ns),
        ],
        ..HistoryCall::default()
    }
}

fn ask_history(question: Question, commands: &[HistoryCall]) -> Result<Report, Refused> {
    let mut analysis = Analysis::new(Question {
        is_history: true,
        ..question
    });
    commands
        .iter()
        .filter_map(HistoryCall::trace)
        .for_each(|trace| analysis.add(&trace));
    analysis.finish(&ReadSummary::default())
}

#[test]
fn a_history_has_the_stages_of_the_server_and_says_that_the_others_are_unavailable() {
    let commands: Vec<_> = (1..=10)
        .map(|nth| command(nth, nth.into(), nth as u64 * 100))
        .collect();
    let question = Question {
        by: By::Turn,
        ..Question::default()
    };
    let report = ask_history(question, &commands).unwrap();
    assert_eq!((report.calls, report.left_out.fragments), (10, 0));
    assert_eq!(of(&report, "process.spawn").duration.quantiles.p50, 500.0);
    // Its child is not its own time.
    assert_eq!(of(&report, "process").self_time.p90, 1_000.0);
    assert_eq!(of(&report, "process").share, None);
    assert!(report.envelope.is_none() && report.remainder.is_none() && report.what_if.is_empty());
    for name in ["transit", "remainder", "call"] {
        assert!(
            report.unavailable.contains(&(name, crate::history::UNAVAILABLE)),
            "{name}"
        );
        assert!(report.stages.iter().all(|stage| stage.name != name), "{name}");
    }
    assert_eq!((report.groups.len(), report.later_turns.calls), (10, 9));
    let exemplar = of(&report, "process").duration.exemplars.unwrap()[2];
    assert_eq!(exemplar, TraceId::from_bytes([10; 16]));
}

#[test]
fn commands_of_a_history_are_selected_by_what_is_on_record() {
    let mut cancelled = command(1, 1, 100);
    cancelled.outcome = Some(Outcome::killed(CallEnd::Reset));
    let mut failed = command(2, 1, 100);
    failed.outcome = Some(Outcome::Exited { code: 2 });
    let all = [cancelled, failed, command(3, 2, 100)];
    let report = ask_history(Question::default(), &all).unwrap();
    assert_eq!((report.calls, report.left_out.cancelled), (2, 1));
    let question = Question {
        population: Population {
            filters: vec![Filter {
                name: "process.exit.code".to_owned(),
                value: "2".to_owned(),
            }],
            ..Population::default()
        },
        ..Question::default()
    };
    assert_eq!(ask_history(question, &all).unwrap().calls, 1);
    let ends: Vec<_> = all.iter().map(HistoryCall::succeeded).collect();
    assert_eq!(ends, [false, false, true]);
}

/// A call of a turn with a fingerprint, which starts later by so many microseconds.
fn of_turn(trace: u128, turn: i64, fingerprint: &str, later_us: u64) -> Vec<Made> {
    let mut spans = longer(trace, 0);
    for span in &mut spans {
        span.start_ns += later_us * 1_000;
        span.end_ns += later_us * 1_000;
    }
    let call = spans[0]
        .clone()
        .with("baton.thread", "t")
        .with("baton.turn", turn);
    spans[0] = match fingerprint {
        "" => call,
        fingerprint => call.with("baton.arguments.fingerprint", fingerprint),
    };
    spans
}

#[test]
fn the_same_arguments_twice_in_a_turn_are_a_repeat_and_in_another_turn_none() {
    let calls = [
        of_turn(1, 1, "aa", 50),
        of_turn(2, 1, "aa", 0),
        of_turn(3, 1, "bb", 0),
        of_turn(4, 2, "aa", 0),
        of_turn(5, 1, "aa", 99),
        of_turn(6, 1, "", 0),
    ];
    let question = || Question {
        with_repeats: true,
        ..Question::default()
    };
    let report = ask(question(), &[&text(&calls)]).unwrap().repeats.unwrap();
    assert_eq!(
        (report.calls, report.turns, report.without_fingerprint),
        (5, 2, 1)
    );
    // Traces 1 and 5 came after trace 2.
    assert_eq!((report.repeats, report.turns_with_repeats), (2, 1));
    assert_eq!((report.cost_ns, report.cost_share), (2_000_000, 0.4));
    assert_eq!(
        (report.labels.len(), report.labels[0].exemplar),
        (1, TraceId::from(1))
    );
    let mut reversed = calls.clone();
    reversed.reverse();
    assert_eq!(
        ask(question(), &[&text(&reversed)]).unwrap().repeats.unwrap(),
        report
    );
    // Two runs of an agent that names its thread alike: each turn is a trace.
    let below = |trace| {
        let mut spans = of_turn(trace, 1, "aa", 0);
        spans[0].parent = 99;
        spans.push(other(99, 0, "execute_tool", 0, 3_000));
        spans.iter_mut().for_each(|span| span.trace = trace);
        spans
    };
    let apart = ask(question(), &[&text(&[below(1), below(2)])]).unwrap();
    let apart = apart.repeats.unwrap();
    assert_eq!((apart.calls, apart.turns, apart.repeats), (2, 2, 0));
    let none = ask(question(), &[&text(&[of_turn(1, 1, "", 0)])]).unwrap_err();
    assert_eq!(none, Refused::NoFingerprints(1));
    assert!(
        none.to_string()
            .contains("1 call has no `baton.arguments.fingerprint`"),
        "{none}"
    );
    assert!(
        ask(Question::default(), &[&text(&calls)])
            .unwrap()
            .repeats
            .is_none()
    );
}

#[test]
fn stages_of_turns_have_figures_for_all_turns_and_for_each() {
    let of_model = |id, name: &str, turn: i64, length: u64| {
        other(id, 0, name, 0, length)
            .with("baton.stage", name)
            .with("baton.turn", turn)
    };
    let request = other(7, 0, "request", 0, 40)
        .with("baton.request.ordinal", "1")
        .with("baton.turn", 1);
    let mut spans = of_turn(1, 1, "", 0);
    spans.extend([
        of_model(70, "ttft", 1, 30),
        of_model(71, "ttft", 2, 50),
        of_model(72, "decode", 1, 9),
        request,
    ]);
    let question = || Question {
        by: By::Turn,
        ..Question::default()
    };
    let report = ask(question(), &[&text(&[spans.clone()])]).unwrap();
    let all: Vec<_> = report
        .turn_stages
        .iter()
        .map(|(name, figures)| (*name, figures.count, figures.quantiles.p99))
        .collect();
    assert_eq!(all, [("request", 1, 40e3), ("ttft", 2, 50e3), ("decode", 1, 9e3)]);
    let first = &report.groups[0];
    let ttft = first.stages.iter().find(|(name, _)| *name == "ttft").unwrap();
    assert_eq!((&*first.name, ttft.1.count), ("1", 1));
    let second = Question {
        population: Population {
            filters: vec![Filter {
                name: "turn".to_owned(),
                value: "1".to_owned(),
            }],
            ..Population::default()
        },
        ..question()
    };
    let report = ask(second, &[&text(&[spans])]).unwrap();
    assert_eq!(report.turn_stages[1].1.count, 1);
}
