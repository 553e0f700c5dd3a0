//! Statistics for runs that are not independent.
//!
//! Runs of one process set or session share its memory layout, caches, neighbours and time of day. A test that treats
//! them as independent finds differences between equal programs far too often. The unit of everything random here is
//! therefore the *block*, a process set or a session, with all of its runs.
//!
//! * [`Quantile`], [`Distribution`]: quantiles, exact up to [`EXACT_VALUES`](crate::limits::EXACT_VALUES);
//! * [`Table`]: one value per block and stage;
//! * [`bootstrap`]: an interval from resampled blocks;
//! * [`Random`], [`Seed`]: a generator whose seed is a hash of the input.

mod bootstrap;
mod center;
mod distribution;
mod normal;
mod quantile;
mod random;
mod table;

pub use bootstrap::{Interval, bootstrap};
pub use center::midmean;
pub use distribution::Distribution;
pub use quantile::{ParseQuantileError, Quantile};
pub use random::{Random, Seed};
pub use table::Table;
