//! Runs: what `compare` and `gate` compute from.
//!
//! A run is one traced call with the durations of its stages. It belongs to a block, the process set or session that it
//! ran in, because runs of one block are not independent. It may belong to a pair, the runs of two sides that ran beside
//! each other.

mod alternation;
mod from_traces;

use std::collections::{BTreeMap, HashMap};

pub use self::alternation::block_by_alternation;
pub use self::from_traces::{BlockBy, RunCollector, RunOptions, RunsLeftOut};
use crate::stages;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// The trace that shows it, as 32 hexadecimal digits.
    pub trace: String,
    /// Its process set or session. What shares a block is resampled together.
    pub block: String,
    /// What it shares with the run of the other side that ran beside it.
    pub pair: Option<String>,
    /// When it began, in nanoseconds since the Unix epoch.
    pub started_ns: u64,
    /// The number of the caller's turn.
    pub turn: Option<u64>,
    /// The command exited with 0.
    pub succeeded: bool,
    /// Attributes that a population may be chosen by.
    pub attributes: BTreeMap<String, String>,
}

/// Runs with the durations of their stages.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    columns: HashMap<String, usize>,
    stages: Vec<String>,
    rows: Vec<(Run, Vec<u64>)>,
}

/// In a row: the run does not have the stage.
const ABSENT: u64 = u64::MAX;

impl Runs {
    /// No runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a run with the durations of its stages in nanoseconds. The envelope is the stage `call`. A stage that the run
    /// does not have is left out, and is absent, not 0. Durations of a stage that is named twice (two attempts) are
    /// added.
    pub fn add<'a>(&mut self, run: Run, durations: impl IntoIterator<Item = (&'a str, u64)>) {
        let mut row = vec![ABSENT; self.stages.len()];
        for (stage, duration) in durations {
            let column = match self.columns.get(stage) {
                Some(column) => *column,
                None => {
                    self.stages.push(stage.to_owned());
                    self.columns.insert(stage.to_owned(), self.stages.len() - 1);
                    self.stages.len() - 1
                }
            };
            if row.len() <= column {
                row.resize(column + 1, ABSENT);
            }
            row[column] = match row[column] {
                ABSENT => duration.min(ABSENT - 1),
                before => before.saturating_add(duration).min(ABSENT - 1),
            };
        }
        self.rows.push((run, row));
    }

    /// Sorts the runs by time and trace, so that nothing depends on the order of files.
    pub fn sort(&mut self) {
        let key = |run: &Run| (run.started_ns, run.trace.clone(), run.block.clone());
        self.rows.sort_by_cached_key(|(run, _)| key(run));
    }

    /// The number of runs.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no run.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The runs.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.rows.iter().map(|(run, _)| run)
    }

    /// One run.
    pub fn run(&self, index: usize) -> &Run {
        &self.rows[index].0
    }

    /// The stages that any run has, in the order of the stage tables; others follow by name.
    pub fn stages(&self) -> Vec<&str> {
        let mut stages: Vec<&str> = self.stages.iter().map(String::as_str).collect();
        stages.sort_by_key(|stage| (stages::position(stage), *stage));
        stages
    }

    /// Whether any run has the stage.
    pub fn has_stage(&self, stage: &str) -> bool {
        self.columns.contains_key(stage)
    }

    /// The duration of a stage of one run, in nanoseconds; `None` if it does not have it.
    pub fn duration(&self, index: usize, stage: &str) -> Option<u64> {
        let column = *self.columns.get(stage)?;
        let duration = self.rows[index].1.get(column)?;
        (*duration != ABSENT).then_some(*duration)
    }

    /// The durations of one stage by run.
    pub fn durations(&self, stage: &str) -> impl Iterator<Item = Option<u64>> {
        let column = self.columns.get(stage).copied();
        self.rows.iter().map(move |(_, row)| {
            let duration = row.get(column?)?;
            (*duration != ABSENT).then_some(*duration)
        })
    }

    /// The runs with the durations of these stages only. Runs that have none of them stay.
    pub fn only(&self, stages: &[String]) -> Self {
        let mut only = Self::new();
        for (index, (run, _)) in self.rows.iter().enumerate() {
            let durations = stages
                .iter()
                .filter_map(|stage| Some((stage.as_str(), self.duration(index, stage)?)));
            only.add(run.clone(), durations);
        }
        only
    }

    /// The runs that `keep` keeps.
    pub fn filtered(&self, mut keep: impl FnMut(&Run) -> bool) -> Self {
        Self {
            columns: self.columns.clone(),
            stages: self.stages.clone(),
            rows: self.rows.iter().filter(|(run, _)| keep(run)).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_a_run_does_not_have_is_absent_and_attempts_are_added() {
        let mut runs = Runs::new();
        runs.add(Run::default(), [("transit", 5), ("call", 9)]);
        runs.add(Run::default(), [("my.stage", 1), ("call", 7), ("call", 1)]);
        assert_eq!(runs.stages(), ["call", "transit", "my.stage"]);
        assert_eq!(runs.durations("transit").collect::<Vec<_>>(), [Some(5), None]);
        assert_eq!(runs.durations("my.stage").collect::<Vec<_>>(), [None, Some(1)]);
        assert_eq!(runs.durations("call").collect::<Vec<_>>(), [Some(9), Some(8)]);
        assert_eq!(runs.durations("rpc").collect::<Vec<_>>(), [None, None]);
    }
}
