//! A comparison as text: for a terminal, and as Markdown for a comment of CI.

use std::fmt::Write as _;

use baton_trace::report::units;
use baton_trace::text::counted;

use super::design::Design;
use super::stage::{Change, Measured, StageComparison};
use super::verdict::Comparison;

const HEADS: [&str; 7] = [
    "stage",
    "A p50",
    "B p50",
    "change",
    "95 % interval",
    "p",
    "result",
];

impl Comparison {
    /// Plain text, with lines of any length. Ends with a line feed. `ascii` uses only ASCII but in names from traces.
    pub fn text(&self, ascii: bool) -> String {
        let mut out = format!("{}\n\n", self.basis());
        let stages = self.stages.iter().map(|stage| row(stage, "", ascii));
        let controls = self.controls.iter().map(|stage| row(stage, " (control)", ascii));
        let rows: Vec<[String; 7]> = [HEADS.map(str::to_owned)]
            .into_iter()
            .chain(stages)
            .chain(controls)
            .collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Writing to a String cannot fail.
                let _ = match column {
                    0 => write!(line, "{cell:width$}"),
                    6 => write!(line, "  {cell}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
        for line in self.remarks() {
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(out, "verdict: {}: {}", self.verdict, self.reasons.join("; "));
        out
    }

    /// Markdown: the verdict, a table of the stages that changed and of the controls, and the rest folded.
    pub fn markdown(&self) -> String {
        let mut out = format!(
            "**{}**: {}\n\n{}\n",
            self.verdict,
            escaped(&self.reasons.join("; ")),
            self.basis()
        );
        let (changed, rest): (Vec<&StageComparison>, Vec<&StageComparison>) = self
            .stages
            .iter()
            .partition(|stage| matches!(stage.change, Change::Slower | Change::Faster));
        let changed = changed.into_iter().map(|stage| row(stage, "", false));
        let controls = self.controls.iter().map(|stage| row(stage, " (control)", false));
        table(&mut out, changed.chain(controls).collect());
        if !rest.is_empty() {
            let _ = write!(out, "\n<details><summary>{} other stages</summary>\n", rest.len());
            table(
                &mut out,
                rest.into_iter().map(|stage| row(stage, "", false)).collect(),
            );
            out.push_str("\n</details>\n");
        }
        for line in self.remarks() {
            let _ = write!(out, "\n- {}", escaped(&line));
        }
        out.push('\n');
        out
    }

    /// What was compared.
    fn basis(&self) -> String {
        let counts = &self.counts;
        let [a, b] = counts.runs;
        let runs = |count: usize| counted(count as u64, "run", "runs");
        match counts.design {
            Design::Paired => format!(
                "A: {}. B: {}. {}.",
                runs(a),
                runs(b),
                counted(counts.blocks[0] as u64, "interleaved pair", "interleaved pairs")
            ),
            Design::Unpaired => {
                let [blocks_a, blocks_b] = counts.blocks;
                let blocks = |count: usize| counted(count as u64, "block", "blocks");
                format!(
                    "A: {} in {}. B: {} in {}. Not paired.",
                    runs(a),
                    blocks(blocks_a),
                    runs(b),
                    blocks(blocks_b)
                )
            }
        }
    }

    /// The self-check, what the comparison could not see, and the warnings.
    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(check) = &self.self_check {
            let moved = match check.moved.len() {
                0 => "no stage differs".to_owned(),
                moved => format!("{moved} stages differ"),
            };
            lines.push(format!(
                "self-check: A against A, {} {}: {moved}",
                check.units, check.method
            ));
        }
        let blind = |stage: &StageComparison| {
            let detectable = stage.measured?.detectable?;
            (stage.change == Change::Unchanged && detectable > self.options.detected)
                .then(|| format!("{} ({:.0} %)", stage.name, detectable * 100.0))
        };
        let blind: Vec<String> = self.stages.iter().filter_map(blind).collect();
        if !blind.is_empty() {
            lines.push(format!(
                "too noisy to find a change of {:.0} % in: {}; in parentheses the change that these blocks find",
                self.options.detected * 100.0,
                blind.join(", ")
            ));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines
    }
}

fn table(out: &mut String, rows: Vec<[String; 7]>) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "\n| {} |\n|---|---:|---:|---:|---:|---:|---|\n",
        HEADS.join(" | ")
    );
    for row in rows {
        let _ = writeln!(out, "| {} |", row.map(|cell| escaped(&cell)).join(" | "));
    }
}

/// Text from a trace must not end a table's cell, nor begin HTML.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('\n', " ")
}

fn row(stage: &StageComparison, suffix: &str, ascii: bool) -> [String; 7] {
    let (none, to) = if ascii { ("-", "..") } else { ("–", "…") };
    let none = || none.to_owned();
    let duration = |ns: Option<f64>| ns.map_or_else(none, |ns| units::duration(ns as u64, ascii));
    let measured = |show: &dyn Fn(&Measured) -> Option<String>| {
        stage.measured.as_ref().and_then(show).unwrap_or_else(none)
    };
    let result = match stage.change {
        Change::Slower => "slower",
        Change::Faster => "faster",
        Change::Unchanged => "unchanged",
        Change::BelowFloor => "below the floor",
        Change::NotEnoughData => "not enough data",
        Change::OnlyInA => "only in A",
        Change::OnlyInB => "only in B",
    };
    [
        (baton_trace::text::printable(&stage.name) + suffix).into_owned(),
        duration(stage.a.p50),
        duration(stage.b.p50),
        measured(&|measured| Some(percent(measured.relative))),
        measured(&|measured| {
            let interval = measured.interval?;
            Some(format!(
                "{} {to} {}",
                percent(interval.low),
                percent(interval.high)
            ))
        }),
        measured(&|measured| Some(probability(measured.p?))),
        match (stage.change, stage.needed) {
            (Change::NotEnoughData, Some(needed)) => format!("{result}, need {needed}"),
            _ => result.to_owned(),
        },
    ]
}

fn percent(part: f64) -> String {
    format!("{:+.1} %", part * 100.0)
}

fn probability(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}
