//! Names of segments: `SECONDS-RANDOM.traces.zst`. The order of names is the order of their creation.

use baton_trace::w3c::random::random_u128;

const SUFFIX: &str = ".traces.zst";

/// A new name.
pub(crate) fn new(now_secs: u64) -> String {
    format!("{now_secs:010}-{:016x}{SUFFIX}", random_u128() as u64)
}

/// Whether a file of this name is a segment. Names that begin with a dot are not: they are being written.
pub fn is_segment(name: &str) -> bool {
    name.ends_with(SUFFIX) && !name.starts_with('.') && !name.contains('/')
}

/// When the segment was begun, in seconds since the Unix epoch; 0 if its name does not say.
pub(crate) fn created_secs(name: &str) -> u64 {
    let digits = name.split('-').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// The name while a segment is recompressed.
pub(crate) fn temporary(segment: &str) -> String {
    format!(".{segment}.{:016x}.tmp", random_u128() as u64)
}

/// Whether the file is left from an interrupted recompression, or of one that runs.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp") && name.contains(SUFFIX)
}
