//! Every limit of this crate: its value and its reason.

use std::time::Duration;

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

/// Bytes of open traces that are kept in memory; above, they are written to a temporary file and assembled at the end
/// of the input. Enough for ten thousand traces of 24 spans.
pub const OPEN_TRACES_BYTES: usize = 64 * 1024 * 1024;

/// Complete traces that are held back before they are delivered, so that spans that other writers appended a little
/// later are still part of them. About 6 KiB each: 6 MiB.
pub const SETTLING_TRACES: usize = 1_024;

/// Spans that a new trace gets room for at once, at most, however many the one before it had. With the next two about
/// 10 KiB a trace, so that small traces that follow a large one do not fill [`OPEN_TRACES_BYTES`] with room.
pub(crate) const ROOM_SPANS: usize = 32;

/// Likewise, its attributes.
pub(crate) const ROOM_ATTRIBUTES: usize = 128;

/// Likewise, the bytes of its text.
pub(crate) const ROOM_TEXT_BYTES: usize = 4_096;

/// Parts of the temporary file, by trace id. One part at a time is read back into memory, so that 64 ×
/// [`OPEN_TRACES_BYTES`] = 4 GiB of spilled traces need no more memory than the open traces did.
pub const SPILL_PARTS: usize = 64;

/// Bytes of a line that is parsed in one piece. A longer document is parsed as a stream, at about half the rate, and
/// needs no memory for its text.
pub const LINE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes that are read from a file at once.
pub const READ_BYTES: usize = 256 * 1024;

/// Faults of the input that are described one by one; more are only counted.
pub const FAULTS_DESCRIBED: usize = 16;

/// Files with faults that a sentence names; more are only counted. Each verdict as JSON lists all of them.
pub const FAULTY_FILES_NAMED: usize = 3;

/// Bytes of input between two reports of progress. A core reads this in a tenth of a second.
pub const PROGRESS_BYTES: u64 = 32 * 1024 * 1024;

/// Parents followed from a stage to its call: more than the stage tables are deep. A file may hold a cycle.
pub const STAGE_DEPTH_MAX: usize = 64;

/// How far a child of another machine may stand outside of its parent beyond the error of the clock offset. A component
/// reads its two clocks one after the other, and the system may run another process in between.
pub const CLOCK_SLACK: Duration = Duration::from_millis(1);

/// Stages of a call that are drawn; a call has about 22. A file may claim any number.
pub const RECORD_STAGES_MAX: usize = 128;

/// Attributes of a call that are read into its record.
pub const RECORD_ATTRIBUTES_MAX: usize = 64;

/// Groups of one report; calls of further groups are counted together. A group has a distribution for each of about 24
/// stages, 80 kB each at most: 64 MB.
pub const GROUPS_MAX: usize = 32;

/// Calls whose attributes are kept to rank them slow against fast: those whose ids have the smallest hashes, so that
/// the order of the input does not matter. About 200 bytes each.
pub const ATTRIBUTE_CALLS: usize = 10_000;

/// Pairs of attribute and value that are ranked. Attributes with more values than calls share, such as ids, fill this,
/// so later pairs are left out and counted.
pub const ATTRIBUTE_PAIRS: usize = 4_096;

/// Attributes of one call that are ranked.
pub const ATTRIBUTES_OF_CALL: usize = 64;

/// Ranked attributes in a report.
pub const ATTRIBUTES_SHOWN: usize = 10;

/// Kinds of calls of turns that `--repeats` compares; further ones are counted. About 80 bytes each: 40 MB.
pub const REPEATABLE_CALLS: usize = 500_000;

/// Labels with repeats in a report.
pub const REPEATS_SHOWN: usize = 10;

/// The most that a sampled trace may stand for. A tracestate is text from anywhere.
pub const SAMPLING_WEIGHT_MAX: f64 = 10_000.0;

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

/// From this many changes on, all in one direction are remarked on: they look like a machine that changed.
pub const ONE_SIDED_CHANGES: usize = 3;

/// Pairs in which the same side ran first are remarked on from this part on. With a random order, 16 of 20 are rarer than
/// 1 in 80.
pub const SAME_ORDER: f64 = 0.8;

/// A stage that this part more of one side's runs have is remarked on, because its change is that of the others alone.
pub const PRESENCE_DIFFERENCE: f64 = 0.1;

/// Bytes of the rules of a gate.
pub const RULES_MAX: usize = 1024 * 1024;

/// Traces named as examples of a quantile: those nearest to it.
pub const EXEMPLARS: usize = 5;

/// Trace ids listed in a verdict (33 kB). Their number and a hash of all ids are always in it.
pub const VERDICT_TRACES: usize = 1_000;

/// Traces that one search in a Jaeger asks for: 15 MB of OTLP/JSON at 24 spans each. The reader holds one answer.
pub const JAEGER_TRACES: usize = 1_000;

/// The most bytes of one answer of a Jaeger. Beyond it the search is divided.
pub const JAEGER_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// The shortest window that a search in a Jaeger is divided into, in nanoseconds: some storages keep milliseconds.
pub const JAEGER_WINDOW_NS: u64 = 2_000_000;

/// Characters of an answer that a message repeats.
pub const JAEGER_MESSAGE_CHARS: usize = 120;
