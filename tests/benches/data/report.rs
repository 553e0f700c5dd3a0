//! The whole run, for people and as JSON for programs.

use std::fs;
use std::io;
use std::path::Path;

use baton_tests::bench::{Row, machine};
use baton_tests::stats::Verdict;
use serde_json::json;

use crate::options::Plan;

/// See the [module](self).
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    seed: u64,
    plan: Plan,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        Self {
            facts: machine::facts(),
            seed,
            plan,
            rows: Vec::new(),
        }
    }

    /// Whether a bar is failed. What was not measured is not.
    pub(crate) fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| row.verdict() == Some(Verdict::Fail))
    }

    /// What is known before anything is measured.
    pub(crate) fn print_head(&self) {
        for (name, value) in &self.facts {
            println!("{name:<19}{value}");
        }
        println!("{:<19}{}", "seed", self.seed);
        println!("{:<19}{:?}\n", "plan", self.plan);
    }

    /// How many bars are passed, and which are not.
    pub(crate) fn print_verdicts(&self) {
        let mut passed = 0;
        for row in &self.rows {
            match (row.verdict(), row.absence()) {
                (Some(Verdict::Fail), _) => println!("FAIL: {}", row.what()),
                (Some(Verdict::Pass | Verdict::PassWithinNoise), _) => passed += 1,
                (None, Some(_)) => println!("not measured: {}", row.what()),
                (None, None) => {}
            }
        }
        println!("{passed} bars passed; load after: {}", machine::load());
    }

    /// Everything, for programs.
    pub(crate) fn write_json(&self, file: &Path) -> io::Result<()> {
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let report = json!({
            "machine": facts,
            "load_after": machine::load(),
            "seed": self.seed,
            "plan": format!("{:?}", self.plan),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        });
        fs::write(file, format!("{report:#}\n"))
    }
}
