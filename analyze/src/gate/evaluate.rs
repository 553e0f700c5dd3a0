//! From rules and evidence to a verdict.

use std::collections::BTreeMap;

use super::measure::{Holds, SetRuns};
use super::population::{Chosen, choose};
use super::rules::{CHECK_FAILED, Conclusion, NOT_ENOUGH_DATA, Rule, Rules, UNPROVEN};
use super::verdict::{Finding, GateVerdict, SetVerdict};
use crate::limits::VERDICT_TRACES;
use crate::read::InputFaults;
use crate::runs::Runs;
use crate::stats::Seed;

/// What a gate decides on.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The runs.
    pub runs: Runs,
    /// What of their files was not read.
    pub faults: InputFaults,
    /// Correctness checks that ran beside them, and whether they passed.
    pub checks: BTreeMap<String, bool>,
    /// The time that the window of the population ends at, in nanoseconds since the Unix epoch; the newest run by
    /// default.
    pub now_ns: Option<u64>,
}

/// Decides.
pub fn gate(rules: &Rules, evidence: &Evidence) -> GateVerdict {
    let mut runs = evidence.runs.clone();
    runs.sort();
    let newest = runs.iter().map(|run| run.started_ns).max().unwrap_or(0);
    let now_ns = evidence.now_ns.unwrap_or(newest);
    let Chosen {
        runs: chosen,
        left_out,
    } = choose(&rules.population, &runs, now_ns);
    let Sets {
        judged,
        by_name,
        unnamed,
    } = Sets::new(rules, &chosen);
    let sets: Vec<SetVerdict> = judged
        .iter()
        .map(|(name, runs)| {
            let set = SetRuns {
                name,
                runs,
                minimum: rules.minimum,
                sets: &by_name,
            };
            judge(rules, &evidence.checks, &set)
        })
        .collect();
    let (decision, by_set) = decide(rules, &sets);
    let decision = match evidence.faults.sentence() {
        Some(faults) if !rules.population.half_read => half_read(&faults, &decision),
        _ => decision,
    };
    let traces = match &by_set {
        Some(name) => judged.get(name).map(trace_ids),
        None => Some(trace_ids(&chosen)),
    };
    let traces = traces.unwrap_or_default();
    let mut fingerprint = Seed::new();
    traces.iter().for_each(|trace| {
        fingerprint.text(trace);
    });
    let mut left_out = left_out;
    if unnamed > 0 {
        let attribute = rules.set_attribute().unwrap_or_default();
        left_out.push((format!("no {attribute}"), unnamed));
    }
    GateVerdict {
        exit_code: rules.exit_code(&decision.outcome),
        outcome: decision.outcome,
        sentence: decision.sentence,
        conclusion: decision.conclusion,
        rule_line: decision.rule_line,
        by_set,
        sets,
        runs: runs.len(),
        chosen: chosen.len() - unnamed,
        left_out,
        now_ns,
        window_ns: rules.population.window_ns,
        faults: evidence.faults.clone(),
        checks: evidence.checks.clone(),
        trace_count: traces.len(),
        fingerprint: fingerprint.random().bits(),
        traces: traces.into_iter().take(VERDICT_TRACES).collect(),
    }
}

/// The trace ids of some runs, sorted, each once.
fn trace_ids(runs: &Runs) -> Vec<String> {
    let mut traces: Vec<String> = runs.iter().map(|run| run.trace.clone()).collect();
    traces.sort_unstable();
    traces.dedup();
    traces
}

/// The name of the only set, if the rules name no sets, or look at differences only.
const ALL: &str = "all runs";

struct Sets {
    /// The sets that are judged by themselves.
    judged: BTreeMap<String, Runs>,
    /// Every set, for differences.
    by_name: BTreeMap<String, Runs>,
    /// Runs without the attribute.
    unnamed: usize,
}

impl Sets {
    fn new(rules: &Rules, chosen: &Runs) -> Self {
        let whole = || BTreeMap::from([(ALL.to_owned(), chosen.clone())]);
        let Some(attribute) = rules.set_attribute() else {
            return Self {
                judged: if chosen.is_empty() {
                    BTreeMap::new()
                } else {
                    whole()
                },
                by_name: BTreeMap::new(),
                unnamed: 0,
            };
        };
        let mut names: Vec<&String> = chosen
            .iter()
            .filter_map(|run| run.attributes.get(attribute))
            .collect();
        names.sort_unstable();
        names.dedup();
        let of_name = |name: &String| chosen.filtered(|run| run.attributes.get(attribute) == Some(name));
        let by_name: BTreeMap<String, Runs> = names
            .into_iter()
            .map(|name| (name.clone(), of_name(name)))
            .collect();
        let named: usize = by_name.values().map(Runs::len).sum();
        let conditions = rules.rules.iter().flat_map(|rule| &rule.conditions);
        let only_differences =
            conditions.clone().count() > 0 && conditions.clone().all(|one| one.is_difference());
        Self {
            judged: if only_differences {
                whole()
            } else {
                by_name.clone()
            },
            by_name,
            unnamed: chosen.len() - named,
        }
    }
}

/// The outcome of a set or of the gate.
struct Decision {
    outcome: String,
    sentence: String,
    conclusion: Option<String>,
    rule_line: Option<usize>,
}

impl Decision {
    fn not_enough_data(sentence: String) -> Self {
        Self {
            outcome: NOT_ENOUGH_DATA.to_owned(),
            sentence,
            conclusion: None,
            rule_line: None,
        }
    }
}

/// Which set decides, and how.
fn decide(rules: &Rules, sets: &[SetVerdict]) -> (Decision, Option<String>) {
    let of = |set: &SetVerdict| Decision {
        outcome: set.outcome.clone(),
        sentence: set.sentence.clone(),
        conclusion: set.conclusion.clone(),
        rule_line: set.rule_line,
    };
    let decides = rules.sets.as_ref().and_then(|sets| sets.decides.as_ref());
    let listed = |sets: &[SetVerdict]| {
        let sets = sets
            .iter()
            .map(|set| format!("{}: {} ({} runs)", set.name, set.outcome, set.runs));
        sets.collect::<Vec<_>>().join(", ")
    };
    match (decides, sets) {
        (_, []) => {
            let sentence = "no run is in the population".to_owned();
            (Decision::not_enough_data(sentence), None)
        }
        (_, [only]) if only.name == ALL => (of(only), Some(only.name.clone())),
        (Some(name), sets) => match sets.iter().find(|set| set.name == *name) {
            Some(set) => (of(set), Some(name.clone())),
            None => {
                let sentence = format!("the deciding set {name} has no runs; there is {}", listed(sets));
                (Decision::not_enough_data(sentence), None)
            }
        },
        (None, [first, rest @ ..]) => match rest.iter().all(|set| set.outcome == first.outcome) {
            true => (of(first), Some(first.name.clone())),
            false => {
                let sentence = format!(
                    "the sets disagree, and the rules say of none that it decides: {}",
                    listed(sets)
                );
                (Decision::not_enough_data(sentence), None)
            }
        },
    }
}

/// Instead of a decision on a half read input: the runs that are missing might have decided otherwise.
fn half_read(faults: &str, decision: &Decision) -> Decision {
    let Decision {
        outcome, sentence, ..
    } = decision;
    Decision::not_enough_data(format!(
        "{faults}; record them again, or set `half_read = true` in [population]; else {outcome}: {sentence}"
    ))
}

/// The verdict of one set.
fn judge(rules: &Rules, checks: &BTreeMap<String, bool>, set: &SetRuns<'_>) -> SetVerdict {
    let blocks: std::collections::BTreeSet<&str> = set.runs.iter().map(|run| run.block.as_str()).collect();
    let blocks = blocks.len();
    let mut findings = Vec::new();
    let decision = match (set.runs.len(), rules.minimum) {
        (runs, minimum) if runs < minimum.runs => {
            Decision::not_enough_data(format!("{runs} runs in {}, need {}", set.name, minimum.runs))
        }
        (_, minimum) if blocks < minimum.blocks => Decision::not_enough_data(format!(
            "{blocks} blocks in {}, need {}",
            set.name, minimum.blocks
        )),
        _ => by_rules(rules, checks, set, &mut findings),
    };
    SetVerdict {
        name: set.name.to_owned(),
        outcome: decision.outcome,
        sentence: decision.sentence,
        conclusion: decision.conclusion,
        rule_line: decision.rule_line,
        runs: set.runs.len(),
        blocks,
        findings,
    }
}

/// The first rule that holds. One that cannot be judged ends the search: a later rule must not overtake it.
fn by_rules(
    rules: &Rules,
    checks: &BTreeMap<String, bool>,
    set: &SetRuns<'_>,
    findings: &mut Vec<Finding>,
) -> Decision {
    for rule in &rules.rules {
        let measured: Vec<(Holds, Finding)> = rule
            .conditions
            .iter()
            .map(|condition| set.measure(condition))
            .collect();
        let outcome = combine(rule, &measured);
        let sentences = |holds: Holds| {
            let of_holds = measured.iter().filter(|(one, _)| *one == holds);
            of_holds
                .map(|(_, finding)| finding.sentence.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        };
        let decision = match outcome {
            Holds::No => None,
            Holds::Yes => Some(checked(rule, checks, sentences(Holds::Yes))),
            Holds::Unknown => Some(Decision::not_enough_data(sentences(Holds::Unknown))),
            Holds::Unproven => Some(Decision {
                outcome: UNPROVEN.to_owned(),
                ..Decision::not_enough_data(sentences(Holds::Unproven))
            }),
        };
        findings.extend(measured.into_iter().map(|(_, finding)| finding));
        if let Some(decision) = decision {
            return Decision {
                rule_line: Some(rule.line),
                ..decision
            };
        }
    }
    let sentences: Vec<&str> = findings.iter().map(|finding| finding.sentence.as_str()).collect();
    Decision {
        sentence: format!("no rule holds: {}", sentences.join("; ")),
        ..concluded(&rules.otherwise, String::new())
    }
}

fn combine(rule: &Rule, measured: &[(Holds, Finding)]) -> Holds {
    let has = |holds: Holds| measured.iter().any(|(one, _)| *one == holds);
    let (decides, undecided) = if rule.is_all {
        (Holds::No, Holds::Yes)
    } else {
        (Holds::Yes, Holds::No)
    };
    match () {
        () if has(decides) => decides,
        () if has(Holds::Unproven) => Holds::Unproven,
        () if has(Holds::Unknown) => Holds::Unknown,
        () => undecided,
    }
}

fn concluded(conclusion: &Conclusion, sentence: String) -> Decision {
    Decision {
        outcome: conclusion.outcome.clone(),
        sentence,
        conclusion: conclusion.text.clone(),
        rule_line: None,
    }
}

/// The outcome of a rule that holds, if its correctness checks ran and passed.
fn checked(rule: &Rule, checks: &BTreeMap<String, bool>, sentence: String) -> Decision {
    for name in &rule.checks {
        match checks.get(name) {
            Some(true) => {}
            Some(false) => {
                return Decision {
                    outcome: CHECK_FAILED.to_owned(),
                    ..Decision::not_enough_data(format!(
                        "the correctness check {name} failed, though {sentence}"
                    ))
                };
            }
            None => {
                let outcome = &rule.conclusion.outcome;
                return Decision::not_enough_data(format!(
                    "the correctness check {name} did not run, and {outcome} demands it; else {sentence}"
                ));
            }
        }
    }
    concluded(&rule.conclusion, sentence)
}
