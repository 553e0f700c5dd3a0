//! The rows, as a table for people and as JSON for programs.

use std::fs;
use std::io;
use std::path::Path;

use baton_tests::bench::{Row, machine, table};
use baton_tests::stats::Verdict;
use serde_json::json;

use crate::options::Plan;

/// Whether everything was exported.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exports {
    /// Executions that were sampled, warm-ups included.
    pub(crate) executions: f64,
    /// What the sink received.
    pub(crate) batches: f64,
    pub(crate) spans: f64,
    /// Spans of kind CLIENT, one a call.
    pub(crate) client_spans: f64,
    /// Spans of kind SERVER, one a call.
    pub(crate) server_spans: f64,
}

/// A whole run.
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    seed: u64,
    plan: Plan,
    pub(crate) rows: Vec<Row>,
    pub(crate) exports: Exports,
}

impl Exports {
    /// Whether every execution arrived from both ends, once.
    fn are_complete(&self) -> bool {
        self.client_spans == self.executions && self.server_spans == self.executions
    }
}

impl Report {
    pub(crate) fn new(facts: Vec<(&'static str, String)>, seed: u64, plan: Plan) -> Self {
        Self {
            facts,
            seed,
            plan,
            rows: Vec::new(),
            exports: Exports::default(),
        }
    }

    /// Whether a bar is failed, or was measured without exporting what it should have.
    pub(crate) fn has_failed(&self) -> bool {
        let is_failed = |row: &Row| row.verdict() == Some(Verdict::Fail);
        self.rows.iter().any(is_failed) || !self.exports.are_complete()
    }

    /// What is known before anything is measured.
    pub(crate) fn print_head(&self) {
        for (name, value) in &self.facts {
            println!("{name:<19}{value}");
        }
        println!("{:<19}{}", "seed", self.seed);
        println!(
            "{:<19}rounds × (warm-up + counted executions) of two visits a round",
            "counts"
        );
        for (name, rounds) in self.plan.phases() {
            println!(
                "  {name:<26}{} × ({} + {})",
                rounds.rounds, rounds.warm_up, rounds.executions
            );
        }
        println!(
            "  {} warm-ups before a phase, {} in flight, {} resamples\n",
            self.plan.warm_up, self.plan.width, self.plan.resamples
        );
    }

    /// The table, and whether everything was exported.
    pub(crate) fn print(&self) {
        table::print(&self.rows);
        self.print_exports();
        println!("load after: {}", machine::load());
    }

    fn print_exports(&self) {
        let Exports {
            executions,
            batches,
            spans,
            client_spans,
            server_spans,
        } = self.exports;
        println!(
            "\n{executions} executions were sampled; the sink received {spans} spans in {batches} batches, \
             {client_spans} of them the client's envelope and {server_spans} the exec-server's: {}",
            if self.exports.are_complete() {
                "everything was exported"
            } else {
                "NOT EVERYTHING WAS EXPORTED, so the rows of tracing show too little"
            }
        );
    }

    /// Everything, for programs.
    pub(crate) fn write_json(&self, file: &Path) -> io::Result<()> {
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let phases: serde_json::Map<_, _> = self
            .plan
            .phases()
            .into_iter()
            .map(|(name, rounds)| {
                let counts = json!({
                    "rounds": rounds.rounds,
                    "warm_up": rounds.warm_up,
                    "executions": rounds.executions,
                });
                (name.to_owned(), counts)
            })
            .collect();
        let report = json!({
            "machine": facts,
            "load_after": machine::load(),
            "seed": self.seed,
            "resamples": self.plan.resamples,
            "in_flight": self.plan.width,
            "phases": phases,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "exports": {
                "executions": self.exports.executions,
                "batches": self.exports.batches,
                "spans": self.exports.spans,
                "client_spans": self.exports.client_spans,
                "server_spans": self.exports.server_spans,
                "complete": self.exports.are_complete(),
            },
        });
        fs::write(file, format!("{report:#}\n"))
    }
}
