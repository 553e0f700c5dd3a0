//! The answer as one JSON document. Times are nanoseconds.

use baton_analyze::analysis::{
    Figures, Group, LeftOut, Quantiles, Refused, RepeatReport, RepeatedLabel, Report,
};
use baton_analyze::stages::{ENVELOPE, REMAINDER};
use serde_json::{Map, Value, json};

use super::Basis;
use crate::args::AnalyzeArgs;
use crate::command::trace::summary_json;

pub(super) fn report(report: &Report, args: &AnalyzeArgs, basis: &Basis) -> Value {
    let absent = report
        .unavailable
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Value::from("unavailable")))
        .filter(|(name, _)| ![ENVELOPE, REMAINDER].contains(&name.as_str()));
    let stages: Map<String, Value> = report
        .stages
        .iter()
        .map(|stage| {
            let mut value = figures(&stage.duration);
            value["self"] = quantiles(&stage.self_time);
            value["share"] = or_unavailable(stage.share.map(Value::from));
            value["share_by_call"] = or_unavailable(stage.share_by_call.as_ref().map(quantiles));
            value["critical_path_share"] = or_unavailable(stage.path_share.map(Value::from));
            value["critical_path_share_by_call"] =
                or_unavailable(stage.path_share_by_call.as_ref().map(quantiles));
            (stage.name.to_owned(), value)
        })
        .chain(absent)
        .collect();
    let unavailable: Map<String, Value> = report
        .unavailable
        .iter()
        .map(|(name, reason)| ((*name).to_owned(), Value::from(*reason)))
        .collect();
    let mut remainder = or_unavailable(report.remainder.as_ref().map(figures));
    if let Some(share) = report.remainder_share {
        remainder["share"] = share.into();
    }
    let attribute = |ranked: &baton_analyze::analysis::RankedAttribute| {
        json!({
            "key": ranked.key,
            "value": ranked.value,
            "slow_share": ranked.slow_share,
            "fast_share": ranked.fast_share,
        })
    };
    let what_if = |what_if: &baton_analyze::analysis::WhatIfReport| json!({ "change": what_if.what_if, "calls_with_stage": what_if.calls, "envelope": figures(&what_if.envelope) });
    json!({
        "computed_from": computed_from(args, basis),
        "calls": report.calls,
        "calls_without_envelope": report.without_envelope,
        "version": report.version,
        "oldest_ns": report.window_ns.map(|(oldest, _)| oldest),
        "newest_ns": report.window_ns.map(|(_, newest)| newest),
        "left_out": left_out(&report.left_out),
        "envelope": or_unavailable(report.envelope.as_ref().map(figures)),
        "remainder": remainder,
        "remainders": { "told": report.remainders_told, "unknown": report.remainders_unknown },
        "unavailable": unavailable,
        "stages": stages,
        "turn_stages": report
            .turn_stages
            .iter()
            .map(|(name, durations)| ((*name).to_owned(), figures(durations)))
            .collect::<Map<_, _>>(),
        "groups": report.groups.iter().map(group).collect::<Map<_, _>>(),
        "calls_of_more_groups": report.calls_of_more_groups,
        "turns": pair(&report.first_turn, &report.later_turns),
        "sessions": pair(&report.cold, &report.warm),
        "attributes": report.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "attributes_unranked": report.attributes_unranked,
        "repeats": report.repeats.as_ref().map(repeats),
        "what_if": report.what_if.iter().map(what_if).collect::<Vec<_>>(),
    })
}

pub(super) fn refused(refused: &Refused, args: &AnalyzeArgs, basis: &Basis) -> Value {
    let name = match refused {
        Refused::NoCalls(_) => "no_calls",
        Refused::Bypassed(_) => "bypassed",
        Refused::Sampled(_) => "sampled",
        Refused::NoFingerprints(_) => "no_fingerprints",
        Refused::Truncated { .. } => "truncated",
    };
    json!({
        "computed_from": computed_from(args, basis),
        "refused": name,
        "message": refused.to_string(),
    })
}

/// All that is needed to make the answer again.
fn computed_from(args: &AnalyzeArgs, basis: &Basis) -> Value {
    let filters: Vec<_> = args
        .filters
        .iter()
        .map(|filter| format!("{}={}", filter.name, filter.value))
        .collect();
    let what_if: Vec<_> = args.what_if.iter().map(ToString::to_string).collect();
    json!({
        "baton": env!("CARGO_PKG_VERSION"),
        "input": match &basis.history {
            Some(history) => json!({ "history": history.json() }),
            None => summary_json(&basis.read),
        },
        "jaeger": basis.search.map(|search| json!({ "requests": search.requests, "divided": search.divided })),
        "by": format!("{:?}", args.by).to_lowercase(),
        "where": filters,
        "window_ns": basis.window_ns.as_ref().map(|window| [window.start, window.end]),
        "all_versions": args.all_versions,
        "with_cancelled": args.with_cancelled,
        "weighted": args.weighted,
        "repeats": args.repeats,
        "what_if": what_if,
    })
}

fn figures(figures: &Figures) -> Value {
    let mut value = quantiles(&figures.quantiles);
    value["n"] = figures.count.into();
    value["exact"] = figures.is_exact.into();
    if let Some([p50, p90, p99]) = figures.exemplars {
        value["exemplars"] = json!({
            "p50": p50.to_string(),
            "p90": p90.to_string(),
            "p99": p99.to_string(),
        });
    }
    value
}

fn quantiles(quantiles: &Quantiles) -> Value {
    json!({ "p50": quantiles.p50, "p90": quantiles.p90, "p99": quantiles.p99 })
}

fn group(group: &Group) -> (String, Value) {
    let stages: Map<String, Value> = group
        .stages
        .iter()
        .map(|(name, durations)| ((*name).to_owned(), figures(durations)))
        .collect();
    let envelope = group.envelope.as_ref().map(figures);
    (
        group.name.clone(),
        json!({ "calls": group.calls, "envelope": or_unavailable(envelope), "stages": stages }),
    )
}

fn repeats(repeats: &RepeatReport) -> Value {
    let label = |label: &RepeatedLabel| {
        json!({
            "label": label.label,
            "repeats": label.repeats,
            "cost_ns": label.cost_ns,
            "exemplar": label.exemplar.to_string(),
        })
    };
    json!({
        "calls": repeats.calls,
        "turns": repeats.turns,
        "without_fingerprint": repeats.without_fingerprint,
        "not_compared": repeats.not_compared,
        "repeats": repeats.repeats,
        "turns_with_repeats": repeats.turns_with_repeats,
        "cost_ns": repeats.cost_ns,
        "cost_share": repeats.cost_share,
        "labels": repeats.labels.iter().map(label).collect::<Vec<_>>(),
    })
}

fn pair(one: &Group, other: &Group) -> Map<String, Value> {
    [one, other].into_iter().map(group).collect()
}

fn left_out(left_out: &LeftOut) -> Value {
    json!({
        "bypassed_traces": left_out.bypassed_traces,
        "background_traces": left_out.background_traces,
        "truncated_traces": left_out.truncated_traces,
        "fragments": left_out.fragments,
        "outside_window": left_out.outside_window,
        "filtered": left_out.filtered,
        "cancelled": left_out.cancelled,
        "old_versions": left_out.old_versions,
        "backwards": left_out.backwards,
    })
}

/// A figure that the input does not support is said to be so, and not 0.
fn or_unavailable(value: Option<Value>) -> Value {
    value.unwrap_or_else(|| "unavailable".into())
}
