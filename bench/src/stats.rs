//! Statistics, from samples to a verdict.
//!
//! * [`schedule`]: the order in which a round visits its participants, so that drift affects all equally, and
//!   [`balanced_rounds`], how many rounds of it a plan needs;
//! * [`Rounds`]: the samples of one participant, by round;
//! * [`Statistic`]: a number computed from samples;
//! * [`Bootstrap`]: a statistic, or its ratio between two participants, with a 95 % interval;
//! * [`Bar`]: the verdict, given a participant against itself.
//!
//! The bootstrap resamples rounds, never single samples: samples of one round share the state of the machine, so an
//! interval that treats them as independent is far too narrow. Where the participants are processes that are started
//! anew many times, all rounds of one *process set* count as one of [`Rounds`], because a process keeps the layout of
//! its memory for as long as it runs. The intervals and quantiles are those of `baton-analyze`.

mod bootstrap;
mod rounds;
mod schedule;
mod statistic;
mod verdict;

pub use bootstrap::{Bootstrap, Estimate};
pub use rounds::Rounds;
pub use schedule::{balanced_rounds, schedule};
pub use statistic::Statistic;
pub use verdict::{Bar, NoEffect, Verdict};
