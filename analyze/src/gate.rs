//! Decides by rules.
//!
//! The flow: [rules](Rules) are read from TOML. The population keeps the runs that count. Each set of them (production,
//! staging) is judged by itself: the first rule that holds gives the outcome. The deciding set's outcome is the gate's.
//!
//! A gate never guesses. A stage that no run has, too few runs, pairs or blocks, a check that did not run, a deciding
//! set without runs, an input that was read in part (unless the rules allow it): each is `not_enough_data`, with a
//! sentence that says what is missing. The same input gives the same verdict, to the last byte.

mod condition;
mod document;
mod evaluate;
mod measure;
mod population;
mod rules;
mod verdict;

pub use document::RulesError;
pub use evaluate::{Evidence, gate};
pub use rules::{CHECK_FAILED, NOT_ENOUGH_DATA, Rules, UNPROVEN};
pub use verdict::{Finding, GateVerdict, SetVerdict};

/// Rules to begin with, with comments. `baton gate --example` prints them.
pub const EXAMPLE: &str = include_str!("gate/example.toml");

#[cfg(test)]
mod tests;
