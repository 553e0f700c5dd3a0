//! What a comparison is asked for.

use thiserror::Error;

use crate::limits::{DETECTED_CHANGE, FLOOR_NS, FLOOR_RELATIVE};
use crate::runs::Runs;
use crate::stages;

/// What a comparison is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Stages that the change cannot touch. If one moved, the verdict is `unproven`.
    pub controls: Vec<String>,
    /// A change below this part of A is not reported as one.
    pub floor_relative: f64,
    /// A change below this many nanoseconds is not reported as one.
    pub floor_ns: f64,
    /// The relative change that the needed number of blocks is computed for.
    pub detected: f64,
    /// Ignore pairs, and compare the blocks of the two sides as independent recordings.
    pub unpaired: bool,
    /// Compare A with itself first.
    pub self_check: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controls: Vec::new(),
            floor_relative: FLOOR_RELATIVE,
            floor_ns: FLOOR_NS,
            detected: DETECTED_CHANGE,
            unpaired: false,
            self_check: false,
        }
    }
}

/// Why nothing was compared. The caller is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompareError {
    /// One side has no runs.
    #[error("{side} has no runs: pass a recording with at least one traced command")]
    NoRuns {
        /// `A` or `B`.
        side: &'static str,
    },
    /// A control is no stage.
    #[error("unknown control stage `{name}`{}; docs/STAGES.md lists the stages", did_you_mean(.nearest))]
    UnknownControl {
        /// The name.
        name: String,
        /// The stage that may be meant.
        nearest: Option<String>,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

impl Options {
    pub(super) fn check(&self, a: &Runs, b: &Runs) -> Result<(), CompareError> {
        for (side, runs) in [("A", a), ("B", b)] {
            if runs.is_empty() {
                return Err(CompareError::NoRuns { side });
            }
        }
        let measured = a.stages().into_iter().chain(b.stages());
        let known: Vec<&str> = stages::known().into_iter().chain(measured).collect();
        for name in &self.controls {
            if !known.contains(&name.as_str()) {
                return Err(CompareError::UnknownControl {
                    name: name.clone(),
                    nearest: stages::nearest(name, known.iter().copied()).map(str::to_owned),
                });
            }
        }
        Ok(())
    }
}
