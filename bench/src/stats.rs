//! From samples to a verdict that can be defended.
//!
//! * [`schedule`]: the order in which a round visits its participants, so that drift hits all alike;
//! * [`Rounds`]: what was measured of one participant, round by round;
//! * [`Statistic`]: the one number that is asked of samples;
//! * [`Bootstrap`]: that number, or its ratio between two participants, with a 95 % interval;
//! * [`Bar`]: the verdict, given the noise of a participant against itself.
//!
//! Rounds are what is resampled, never single samples: samples of one round share whatever the machine was doing
//! then, and an interval that took them for independent would be far too narrow.

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
