//! The whole run, for people and as JSON for programs.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::stats::Verdict;
use crate::{Row, machine};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Report {
    facts: Vec<(&'static str, String)>,
    seed: u64,
    plan: String,
    pub(super) rows: Vec<Row>,
    notes: serde_json::Map<String, serde_json::Value>,
    has_failed_note: bool,
}

impl Report {
    pub(super) fn new(seed: u64, plan: String) -> Self {
        Self {
            facts: machine::facts(),
            seed,
            plan,
            rows: Vec::new(),
            notes: serde_json::Map::new(),
            has_failed_note: false,
        }
    }

    /// Something that is no row.
    pub(super) fn note(&mut self, name: &str, value: serde_json::Value, failed: bool) {
        self.notes.insert(name.to_owned(), value);
        self.has_failed_note |= failed;
    }

    /// Whether a bar is failed, or a note. What was not measured is not.
    pub(super) fn has_failed(&self) -> bool {
        let is_failed = |row: &Row| row.verdict() == Some(Verdict::Fail);
        self.rows.iter().any(is_failed) || self.has_failed_note
    }

    /// What is known before anything is measured.
    pub(super) fn print_head(&self) {
        for (name, value) in &self.facts {
            println!("{name:<19}{value}");
        }
        println!("{:<19}{}", "seed", self.seed);
        println!("{:<19}{}\n", "plan", self.plan);
    }

    /// How many bars are passed, and which are not.
    pub(super) fn print_verdicts(&self) {
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
    pub(super) fn write_json(&self, file: &Path) -> io::Result<()> {
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let report = json!({
            "machine": facts,
            "load_after": machine::load(),
            "seed": self.seed,
            "plan": self.plan,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": self.notes,
        });
        fs::write(file, format!("{report:#}\n"))
    }
}
