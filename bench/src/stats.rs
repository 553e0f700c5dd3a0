//! Statistics, from samples to a verdict.
//!
//! * [`schedule`]: the order in which a round visits its participants, so that drift affects all equally;
//! * [`Rounds`]: the samples of one participant, by round;
//! * [`Statistic`]: a number computed from samples;
//! * [`Bootstrap`]: a statistic, or its ratio between two participants, with a 95 % interval;
//! * [`Bar`]: the verdict, given the noise of a participant against itself.
//!
//! The bootstrap resamples rounds, never single samples. Samples of one round share the state of the machine, so an
//! interval that treats them as independent is far too narrow.

mod bootstrap;
mod rounds;
mod schedule;
mod statistic;
mod verdict;

pub use bootstrap::{Bootstrap, Estimate};
pub use rounds::Rounds;
pub use schedule::schedule;
pub use statistic::Statistic;
pub use verdict::{Bar, Verdict};
