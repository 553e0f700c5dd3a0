//! A stream with a runtime family over the same stream without one: its time, and the exec-server's CPU time.
//!
//! The family is `jsonl`, and no output has its marker, so that the exec-server looks at as much output as it ever
//! does. One content has no newline. The other has many lines that begin and end as a JSON object and are none, so that
//! each line is parsed to its end.
//!
//! The time is measured twice: under [`FAMILY_CONTROL`], with the ratio within each process set, and under the system's
//! congestion control, with the ratio of medians, as it was first measured. The exec-server's CPU time has no part of
//! TCP's pacing, the relay or the client in it.

use baton_bench::stats::Rounds;
use baton_bench::{Failure, Row, Unit, Worker, network};
use baton_support::process::{Stack, usage};

use super::{BenchContext, Compared, client};
use crate::bars;
use crate::limits::FAMILY_CONTROL;
use crate::role::content::Content;

/// The contents, and their names in rows.
const CONTENTS: [(Content, &str); 2] = [
    (Content::Garbage, "garbage without newline"),
    (Content::Lines, "lines that are no JSON object"),
];

const NONE: usize = 0;
const NONE_AGAIN: usize = 1;
const FAMILY: usize = 2;
const PARTICIPANTS: usize = 3;

/// The visits of each participant.
struct Visits {
    seconds: [Rounds; PARTICIPANTS],
    /// CPU time of the exec-server without its children, in seconds.
    cpu: [Rounds; PARTICIPANTS],
}

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mut rows = match network::under(FAMILY_CONTROL, || judged(bench)) {
        Ok(measured) => measured?,
        Err(why) => CONTENTS
            .iter()
            .flat_map(|(content, shown)| names(bench, *content, shown))
            .map(|(id, what)| Row::absent(id, what, Unit::Times, why.to_string()).bar(Some(bars::FAMILY)))
            .collect(),
    };
    rows.extend(by_default(bench)?);
    Ok(rows)
}

/// Id and text of the rows of time and CPU time.
fn names(bench: &BenchContext, content: Content, shown: &str) -> [(String, String); 2] {
    let (name, mib) = (content.name(), bench.plan.family_bytes >> 20);
    [
        (
            format!("family_{name}_{FAMILY_CONTROL}"),
            format!("{mib} MiB of {shown}, `jsonl` over no family, {FAMILY_CONTROL}"),
        ),
        (
            format!("family_{name}_cpu"),
            "the same, CPU time of the exec-server".to_owned(),
        ),
    ]
}

fn judged(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    visit_contents(bench, |content, shown, visits| {
        let metrics = [&visits.seconds, &visits.cpu];
        for ((id, what), of) in names(bench, content, shown).into_iter().zip(metrics) {
            let ratio = |over: &Rounds| bench.bootstrap.paired_ratio(over, &of[NONE]);
            rows.push(
                Row::new(id, what, Unit::Times, ratio(&of[FAMILY]), &of[FAMILY])
                    .noise(ratio(&of[NONE_AGAIN]))
                    .bar(Some(bars::FAMILY)),
            );
        }
        let id = format!("family_{}_cpu_none", content.name());
        let what = "the same without a family";
        rows.push(bench.milliseconds(&id, what, &visits.cpu[NONE]));
    })?;
    Ok(rows)
}

/// The rows of the first measurement, under the system's congestion control.
fn by_default(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let mib = bench.plan.family_bytes >> 20;
    let control = network::congestion_control()?;
    let mut rows = Vec::new();
    visit_contents(bench, |content, shown, visits| {
        let name = content.name();
        let [none, none_again, family] = &visits.seconds;
        let compared = Compared {
            own: family,
            peer: none,
            peer_again: none_again,
            bar: Some(bars::FAMILY),
        };
        let what = format!("{mib} MiB of {shown}, `jsonl` over no family, {control}, p50");
        rows.push(bench.ratio(&format!("family_{name}"), what, compared));
        for (id, family, of) in [("none", "no family", none), ("jsonl", "`jsonl`", family)] {
            let (id, what) = (
                format!("family_{name}_{id}"),
                format!("{mib} MiB of {shown}, {family}, {control}"),
            );
            rows.push(bench.milliseconds(&id, what, of));
        }
    })?;
    Ok(rows)
}

/// Visits the participants for each content. The process sets are started on this thread's network.
fn visit_contents(
    bench: &BenchContext,
    mut visited: impl FnMut(Content, &str, Visits),
) -> Result<(), Failure> {
    for (content, shown) in CONTENTS {
        visited(content, shown, visits(bench, content)?);
    }
    Ok(())
}

fn visits(bench: &BenchContext, content: Content) -> Result<Visits, Failure> {
    let (name, bytes) = (content.name(), bench.plan.family_bytes);
    let start = |_| {
        let stack = Stack::start(None)?;
        let client = client(&stack, stack.ticket())?;
        // Without detection there would be nothing to measure.
        client.ask("check-family")?;
        Ok((stack, client))
    };
    let visit = |(stack, client): &(Stack, Worker), participant: usize| {
        let task = match participant {
            FAMILY => "stream-jsonl",
            _ => "stream",
        };
        let before = usage::cpu_time(stack.exec_server.pid())?;
        let seconds = client.ask(format!("{task} {name} {bytes}"))?;
        let used = usage::cpu_time(stack.exec_server.pid())?.saturating_sub(before);
        Ok([seconds, vec![used.as_secs_f64()]])
    };
    let [seconds, cpu] = bench.plan.family.measure_warm(PARTICIPANTS, start, visit)?;
    let by_participant = |of: Vec<Rounds>| of.try_into().map_err(|_| "not three participants");
    Ok(Visits {
        seconds: by_participant(seconds)?,
        cpu: by_participant(cpu)?,
    })
}
