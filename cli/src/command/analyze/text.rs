//! The answer as tables.

use std::fmt::Write as _;

use baton_analyze::analysis::{Figures, Group, RepeatReport, RepeatedLabel, Report};
use baton_trace::report::units::duration;
use baton_trace::text::{counted, printable};

use super::Basis;
use crate::record;
use crate::table::{Column, Row, Terminal, draw};
use crate::terminal::is_ascii_locale;

pub(super) fn report(report: &Report, basis: &Basis) -> String {
    let mut out = String::new();
    heading(report, basis, &mut out);
    stages(report, &mut out);
    if !report.turn_stages.is_empty() {
        turn_stages(report, &mut out);
    }
    if !report.groups.is_empty() {
        groups(&report.groups, &mut out);
        if report.calls_of_more_groups > 0 {
            let more = counted(
                report.calls_of_more_groups,
                "call is in another group",
                "calls are in further groups",
            );
            let _ = writeln!(out, "{more}");
        }
    }
    for pair in [
        [&report.first_turn, &report.later_turns],
        [&report.cold, &report.warm],
    ] {
        if pair.iter().all(|group| group.calls > 0) {
            groups(&pair.map(Clone::clone), &mut out);
        }
    }
    if !report.attributes.is_empty() {
        attributes(report, &mut out);
    }
    if let Some(repeated) = &report.repeats {
        repeats(repeated, &mut out);
    }
    for what_if in &report.what_if {
        let quantiles = what_if.envelope.quantiles;
        let _ = writeln!(
            out,
            "\nwhat if {}: p50 {}, p90 {}, p99 {} ({} have the stage)",
            what_if.what_if,
            time(quantiles.p50),
            time(quantiles.p90),
            time(quantiles.p99),
            counted(what_if.calls, "call", "calls"),
        );
    }
    out
}

fn heading(report: &Report, basis: &Basis, out: &mut String) {
    let summary = &basis.read;
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text}");
    };
    let version = match &report.version {
        Some(version) => format!(" of version {}", printable(version)),
        None => String::new(),
    };
    let window = match report.window_ns {
        Some((oldest, newest)) => format!(", {} to {}", record::time(oldest), record::time(newest)),
        None => String::new(),
    };
    line(format!(
        "{}{version}{window}",
        counted(report.calls, "call", "calls")
    ));
    let source = match (&basis.history, basis.search) {
        (Some(history), _) => history.text(),
        (None, Some(search)) => format!(
            "from {} of {} ({search})",
            counted(summary.traces, "trace", "traces"),
            summary.files.first().map_or("", |file| &file.name)
        ),
        (None, None) => format!(
            "from {} in {}",
            counted(summary.traces, "trace", "traces"),
            counted(summary.files.len() as u64, "file", "files")
        ),
    };
    line(format!("{source}; {}", report.left_out.told()));
    if let Some((_, reason)) = report.unavailable.first() {
        line(format!("transit and remainder are unavailable: {reason}"));
    } else if report.without_envelope > 0 {
        line(format!(
            "{} without the client's half: transit and remainder are unavailable",
            counted(report.without_envelope, "call", "calls")
        ));
    }
    if summary.spilled_bytes > 0 {
        line(format!(
            "{} MB of open traces went through a temporary file",
            summary.spilled_bytes / 1_000_000
        ));
    }
    line(String::new());
}

fn stages(report: &Report, out: &mut String) {
    let columns = [
        Column::left("STAGE"),
        Column::right("N").spare(3),
        Column::right("P50"),
        Column::right("P90"),
        Column::right("P99"),
        Column::right("SELF").spare(2),
        Column::right("SHARE"),
        Column::right("PATH"),
        Column::left("EXEMPLAR").spare(1),
    ];
    let mut rows = Vec::new();
    if let Some(envelope) = &report.envelope {
        rows.push(row("(whole call)", envelope, None, Some(1.0), None));
    }
    for stage in &report.stages {
        let own = Some(stage.self_time.p50);
        rows.push(row(
            stage.name,
            &stage.duration,
            own,
            stage.share,
            stage.path_share,
        ));
    }
    if let Some(remainder) = &report.remainder {
        rows.push(row("remainder", remainder, None, report.remainder_share, None));
    }
    let shown = |name: &str| name == "transit" || name == "terminal.transit" || name == "remainder";
    for (name, _) in report.unavailable.iter().filter(|(name, _)| shown(name)) {
        rows.push(Row {
            cells: [*name, "", "unavailable", "", "", "", "", "", ""]
                .map(str::to_owned)
                .into(),
            is_bad: false,
        });
    }
    out.push_str(&draw(&columns, &rows, Terminal::of_stdout()));
}

fn turn_stages(report: &Report, out: &mut String) {
    let columns = [
        Column::left("STAGE OF TURNS"),
        Column::right("N"),
        Column::right("P50"),
        Column::right("P90"),
        Column::right("P99"),
    ];
    let row = |(name, figures): &(&str, Figures)| Row {
        cells: vec![
            (*name).to_owned(),
            figures.count.to_string(),
            time(figures.quantiles.p50),
            time(figures.quantiles.p90),
            time(figures.quantiles.p99),
        ],
        is_bad: false,
    };
    let rows: Vec<_> = report.turn_stages.iter().map(row).collect();
    out.push('\n');
    out.push_str(&draw(&columns, &rows, Terminal::of_stdout()));
}

fn row(name: &str, figures: &Figures, own: Option<f64>, part: Option<f64>, path: Option<f64>) -> Row {
    let quantiles = figures.quantiles;
    let exemplar = figures.exemplars.map(|[.., p99]| p99.to_string());
    Row {
        cells: vec![
            name.to_owned(),
            figures.count.to_string(),
            time(quantiles.p50),
            time(quantiles.p90),
            time(quantiles.p99),
            own.map(time).unwrap_or_default(),
            part.map(percent).unwrap_or_default(),
            path.map(percent).unwrap_or_default(),
            exemplar.unwrap_or_default(),
        ],
        is_bad: false,
    }
}

fn groups(groups: &[Group], out: &mut String) {
    let columns = [
        Column::left("GROUP"),
        Column::right("N"),
        Column::right("P50"),
        Column::right("P90"),
        Column::right("P99"),
        Column::left("LONGEST STAGES (P50)"),
    ];
    let rows: Vec<_> = groups
        .iter()
        .filter_map(|group| {
            // Without the client's half, the process stands for the call.
            let of_process = || {
                group
                    .stages
                    .iter()
                    .find(|(name, _)| *name == "process")
                    .map(|(_, figures)| figures)
            };
            let quantiles = group.envelope.as_ref().or_else(of_process)?.quantiles;
            Some(Row {
                cells: vec![
                    printable(&group.name).into_owned(),
                    group.calls.to_string(),
                    time(quantiles.p50),
                    time(quantiles.p90),
                    time(quantiles.p99),
                    longest(group),
                ],
                is_bad: false,
            })
        })
        .collect();
    out.push('\n');
    out.push_str(&draw(&columns, &rows, Terminal::of_stdout()));
}

/// The three longest stages that have no stage below them.
fn longest(group: &Group) -> String {
    let mut stages: Vec<_> = group
        .stages
        .iter()
        .filter(|(name, _)| !["rpc", "process"].contains(name))
        .collect();
    stages.sort_by(|a, b| b.1.quantiles.p50.total_cmp(&a.1.quantiles.p50));
    let texts: Vec<_> = stages
        .iter()
        .take(3)
        .map(|(name, durations)| format!("{name} {}", time(durations.quantiles.p50)))
        .collect();
    texts.join(", ")
}

fn repeats(report: &RepeatReport, out: &mut String) {
    let compared = format!(
        "{} in {}",
        counted(report.calls, "call", "calls"),
        counted(report.turns, "turn", "turns")
    );
    let _ = match report.repeats {
        0 => writeln!(out, "\nno call repeats an earlier one of its turn ({compared})"),
        repeats => writeln!(
            out,
            "\n{} an earlier one of its turn, in {} ({compared}): {}, {} of the time of these calls",
            counted(repeats, "call repeats", "calls repeat"),
            counted(report.turns_with_repeats, "turn", "turns"),
            time(report.cost_ns as f64),
            percent(report.cost_share)
        ),
    };
    for (count, what) in [
        (report.without_fingerprint, "without a fingerprint"),
        (report.not_compared, "beyond the limit of calls"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "not compared: {} {what}", counted(count, "call", "calls"));
        }
    }
    if report.labels.is_empty() {
        return;
    }
    let columns = [
        Column::right("REPEATS"),
        Column::right("TIME"),
        Column::left("LABEL"),
        Column::left("EXEMPLAR").spare(1),
    ];
    let row = |label: &RepeatedLabel| Row {
        cells: vec![
            label.repeats.to_string(),
            time(label.cost_ns as f64),
            printable(&label.label).into_owned(),
            label.exemplar.to_string(),
        ],
        is_bad: false,
    };
    let rows: Vec<_> = report.labels.iter().map(row).collect();
    out.push_str(&draw(&columns, &rows, Terminal::of_stdout()));
}

fn attributes(report: &Report, out: &mut String) {
    let columns = [
        Column::right("OF SLOW"),
        Column::right("OF FAST"),
        Column::left("ATTRIBUTE"),
    ];
    let rows: Vec<_> = report
        .attributes
        .iter()
        .map(|ranked| Row {
            cells: vec![
                percent(ranked.slow_share),
                percent(ranked.fast_share),
                printable(&format!("{}={}", ranked.key, ranked.value)).into_owned(),
            ],
            is_bad: false,
        })
        .collect();
    out.push('\n');
    out.push_str(&draw(&columns, &rows, Terminal::of_stdout()));
}

fn time(ns: f64) -> String {
    duration(ns.max(0.0).round() as u64, is_ascii_locale())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
