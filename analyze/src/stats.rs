//! Statistics for runs that are not independent.
//!
//! Runs of one process set or session share its memory layout, caches, neighbours and time of day. A test that treats
//! them as independent finds differences between equal programs far too often. The unit of everything random here is
//! therefore the *block*, a process set or a session, with all of its runs.
//!
//! * [`Quantile`], [`Distribution`]: quantiles, exact up to [`EXACT_VALUES`](crate::limits::EXACT_VALUES);
//! * [`Table`]: one value per block and stage;
//! * [`sign_flip`]: the test of interleaved pairs of blocks; [`permutation`]: the test of blocks without pairs;
//! * [`holm`]: the correction over stages;
//! * [`bootstrap`]: an interval from resampled blocks; [`means`], [`mean_differences`]: of all means of a table;
//!   [`quantile_interval`]: of a quantile of pooled values;
//! * [`blocks_needed`], [`detectable`]: how many blocks find a difference, and which difference blocks find;
//! * [`Random`], [`Seed`]: a generator whose seed is a hash of the input.

mod bootstrap;
mod center;
mod distribution;
mod holm;
mod means;
mod normal;
mod permutation;
mod power;
mod quantile;
mod quantile_interval;
mod random;
mod sign_flip;
mod table;

pub use bootstrap::{Interval, bootstrap};
pub use center::midmean;
pub use distribution::Distribution;
pub use holm::holm;
pub use means::{mean_differences, means};
pub use permutation::permutation;
pub use power::{blocks_needed, detectable};
pub use quantile::{ParseQuantileError, Quantile};
pub use quantile_interval::quantile_interval;
pub use random::{Random, Seed};
pub use sign_flip::sign_flip;
pub use table::Table;
