//! The report of a run: text for a terminal, Markdown for a document, JSON for programs.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::stats::Verdict;
use crate::{Row, machine, table};

/// Why a run with `--check` fails, by number of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Problems {
    failed: usize,
    not_judgeable: usize,
    not_measured: usize,
    failed_notes: usize,
}

impl Problems {
    pub(super) fn are_none(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            failed,
            not_judgeable,
            not_measured,
            failed_notes,
        } = self;
        let counts = [
            (failed, "failed"),
            (not_judgeable, "not judgeable"),
            (not_measured, "not measured"),
            (failed_notes, "failed beside the rows, see `--json`"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| **count > 0);
        let counts: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Report {
    /// The benchmark, and those options that make it measure less.
    what: String,
    facts: Vec<(&'static str, String)>,
    compared: Option<[String; 2]>,
    seed: u64,
    plan: String,
    pub(super) rows: Vec<Row>,
    notes: serde_json::Map<String, serde_json::Value>,
    failed_notes: usize,
}

impl Report {
    pub(super) fn new(what: String, seed: u64, plan: String) -> Self {
        Self {
            what,
            facts: machine::facts(),
            compared: None,
            seed,
            plan,
            rows: Vec::new(),
            notes: serde_json::Map::new(),
            failed_notes: 0,
        }
    }

    /// Sets the two commits that the benchmark compares, the earlier one first.
    pub(super) fn compare(&mut self, commits: [String; 2]) {
        self.compared = Some(commits);
    }

    /// Adds a value to the JSON that is not a row.
    pub(super) fn note(&mut self, name: &str, value: serde_json::Value, failed: bool) {
        self.notes.insert(name.to_owned(), value);
        self.failed_notes += usize::from(failed);
    }

    /// What a run with `--check` fails for. A row that was not measured is a problem with a bar or without: the run is
    /// incomplete.
    pub(super) fn problems(&self) -> Problems {
        let mut problems = Problems {
            failed_notes: self.failed_notes,
            ..Problems::default()
        };
        for row in &self.rows {
            match (row.verdict(), row.absence()) {
                (_, Some(_)) => problems.not_measured += 1,
                (Some(Verdict::Fail), _) => problems.failed += 1,
                (Some(Verdict::NotJudgeable), _) => problems.not_judgeable += 1,
                (Some(Verdict::Pass | Verdict::PassWithinNoise) | None, None) => {}
            }
        }
        problems
    }

    /// Prints the machine, the seed and the plan, before the first measurement.
    pub(super) fn print_head(&self) {
        for (name, value) in &self.facts {
            println!("{name:<19}{value}");
        }
        println!("{:<19}{}", "seed", self.seed);
        println!("{:<19}{}\n", "plan", self.plan);
    }

    /// Prints the number of bars that passed, and what is wrong with each row that did not.
    pub(super) fn print_verdicts(&self) {
        let passed = |row: &&Row| row.verdict().is_some_and(Verdict::has_passed);
        for problem in self.rows.iter().filter_map(Row::problem) {
            println!("{problem}");
        }
        let passed = self.rows.iter().filter(passed).count();
        println!("{passed} bars passed; load after: {}", machine::load());
    }

    /// Markdown: the machine, then a table. Its first row has the benchmark, the commit and the seed; the others are
    /// the rows with a bar.
    pub(super) fn markdown(&self) -> String {
        let load = |load: &str| load.split_whitespace().next().unwrap_or_default().to_owned();
        let machine = format!(
            "{}, {} cores, Linux {}, {}, {}, {} profile; load {} before and {} after.",
            self.value("processor"),
            self.value("cores"),
            self.value("kernel"),
            self.value("congestion control"),
            self.value("rustc"),
            self.value("profile"),
            load(self.value("load before")),
            load(&machine::load()),
        );
        let commits = match &self.compared {
            Some([before, after]) => format!("{after} over {before}"),
            None => self.value("commit").to_owned(),
        };
        let mut head = format!("**`{}`**, {commits}, seed {}", self.what, self.seed);
        if self.failed_notes > 0 {
            head.push_str(", **FAIL**: see `--json`");
        }
        format!("{machine}\n\n{}", table::markdown(&head, &self.rows))
    }

    fn value(&self, name: &str) -> &str {
        let fact = self.facts.iter().find(|(known, _)| *known == name);
        fact.map_or("unknown", |(_, value)| value)
    }

    /// Writes all results as JSON.
    pub(super) fn write_json(&self, file: &Path) -> io::Result<()> {
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let report = json!({
            "machine": facts,
            "compared": self.compared,
            "load_after": machine::load(),
            "seed": self.seed,
            "plan": self.plan,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": self.notes,
        });
        fs::write(file, format!("{report:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;
    use crate::stats::{Bar, Estimate};

    fn between(low: f64, value: f64, high: f64) -> Estimate {
        Estimate { value, low, high }
    }

    /// Without the facts of this machine, which take a build.
    fn empty() -> Report {
        Report {
            what: "exec --quick".to_owned(),
            facts: Vec::new(),
            compared: None,
            seed: 7,
            plan: String::new(),
            rows: Vec::new(),
            notes: serde_json::Map::new(),
            failed_notes: 0,
        }
    }

    #[test]
    fn markdown_has_the_machine_and_the_judged_rows_under_commit_and_seed() {
        let mut report = Report {
            facts: vec![
                ("commit", "0123456789ab".to_owned()),
                ("processor", "a processor".to_owned()),
                ("cores", "2".to_owned()),
                ("kernel", "6.18".to_owned()),
                ("congestion control", "bbr".to_owned()),
                ("rustc", "rustc 1.95.0".to_owned()),
                ("profile", "release".to_owned()),
                ("load before", "0.50 0.40 0.30 1/200 4000".to_owned()),
                ("binary", "/not/for/a/document".to_owned()),
            ],
            ..empty()
        };
        let ratio = |id: &str, of| Row::once(id, id, Unit::Times, of).noise(between(0.99, 1.0, 1.01));
        report.rows = vec![
            ratio("good", between(1.1, 1.2, 1.3)).bar(Some(Bar::AtMost(1.3))),
            Row::once("shown", "shown only", Unit::Bytes, Estimate::exact(9.0)),
            ratio("bad", between(1.1, 1.2, 1.4)).bar(Some(Bar::AtMost(1.3))),
            Row::absent("none", "none", Unit::Times, "no sshd").bar(Some(Bar::AtLeast(2.0))),
        ];
        let text = report.markdown();
        // The load after the run is the machine's own.
        let (machine, rest) = text.split_once(" and ").unwrap();
        assert_eq!(
            machine,
            "a processor, 2 cores, Linux 6.18, bbr, rustc 1.95.0, release profile; load 0.50 before"
        );
        let (_, table) = rest.split_once("\n\n").unwrap();
        assert_eq!(
            table,
            "| | measured | 95 % interval | A against A | bar | verdict | n |\n\
             |---|---|---|---|---|---|---|\n\
             | **`exec --quick`**, 0123456789ab, seed 7 | | | | | | |\n\
             | good | 1.200 × | 1.100 – 1.300 | 1.000 ± 0.010 | ≤ 1.3 × | pass | 1 in 1 |\n\
             | bad | 1.200 × | 1.100 – 1.400 | 1.000 ± 0.010 | ≤ 1.3 × | **FAIL** | 1 in 1 |\n\
             | none | – | | | ≥ 2 × | **not measured** | 0 in 0 |\n"
        );
        report.compare(["before".to_owned(), "after".to_owned()]);
        report.note("exports", json!(null), true);
        let head =
            "\n| **`exec --quick`**, after over before, seed 7, **FAIL**: see `--json` | | | | | | |\n";
        assert!(report.markdown().contains(head));
    }

    #[test]
    fn a_check_fails_for_each_row_that_failed_or_is_not_judgeable_or_was_not_measured() {
        let mut report = empty();
        let ratio = |measured, noise| {
            Row::once("a", "a", Unit::Times, measured)
                .noise(noise)
                .bar(Some(Bar::AtMost(1.3)))
        };
        let (good, around_1) = (between(1.1, 1.2, 1.3), between(0.99, 1.0, 1.01));
        report.rows.push(ratio(good, around_1));
        report
            .rows
            .push(Row::once("b", "b", Unit::Bytes, Estimate::exact(9.0)));
        assert!(report.problems().are_none());
        report.print_verdicts();

        let problems = |row| {
            let mut report = empty();
            report.rows.push(row);
            report.problems()
        };
        let failed = problems(ratio(between(1.1, 1.2, 1.4), around_1));
        assert_eq!((failed.are_none(), &failed.to_string()[..]), (false, "1 failed"));
        let odd = problems(ratio(good, between(1.01, 1.02, 1.03)));
        assert_eq!((odd.are_none(), &odd.to_string()[..]), (false, "1 not judgeable"));
        // Without a bar too: the run is incomplete.
        let absent = problems(Row::absent("none", "none", Unit::Times, "no sshd"));
        assert_eq!(
            (absent.are_none(), &absent.to_string()[..]),
            (false, "1 not measured")
        );
        report.note("exports", json!(null), true);
        assert!(!report.problems().are_none());
    }
}
