//! Every limit of this crate: its value and its reason.

/// Values of a [distribution](crate::stats::Distribution) that are kept as they are (80 kB). More are kept in a sketch.
pub const EXACT_VALUES: usize = 10_000;

/// The relative error of a quantile read from a sketch.
pub const SKETCH_ERROR: f64 = 0.01;

/// Bins of a sketch: 2^11 bins of 2 % cover a range of 10^17, from a nanosecond to three years. Each takes 8 bytes, so a
/// sketch takes at most 16 kB per sign.
pub const SKETCH_BINS: u32 = 2_048;

/// Random sign flips or permutations of a test. The smallest p-value is 1 in 20,000, and one of 0.002, which Holm's
/// correction demands over 24 stages, is known within 0.0003 (standard error).
pub const TEST_RESAMPLES: usize = 19_999;

/// Resamples of blocks for an interval of 95 %: 50 of them lie beyond each bound.
pub const INTERVAL_RESAMPLES: usize = 1_999;

/// The probability of any false alarm over all stages of a comparison.
pub const FALSE_ALARMS: f64 = 0.05;

/// The fewest blocks (pairs, or blocks of each side) that a comparison decides with. Below, one disturbed block decides.
pub const BLOCKS_MIN: usize = 20;

/// A comparison reports no smaller change, as a part of A.
pub const FLOOR_RELATIVE: f64 = 0.02;

/// A comparison reports no smaller change, in nanoseconds: 10 µs are below what a context switch varies by.
pub const FLOOR_NS: f64 = 10_000.0;

/// The relative change that the needed number of blocks is computed for.
pub const DETECTED_CHANGE: f64 = 0.1;

/// A stage shorter than this part of the envelope does not raise the needed number of blocks.
pub const RELEVANT_SHARE: f64 = 0.1;

/// Bytes of the rules of a gate.
pub const RULES_MAX: usize = 1024 * 1024;

/// Traces named as examples of a quantile: those nearest to it.
pub const EXEMPLARS: usize = 5;

/// Trace ids listed in a verdict (33 kB). Their number and a hash of all ids are always in it.
pub const VERDICT_TRACES: usize = 1_000;
