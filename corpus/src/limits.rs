//! Every limit of this crate: its value and its reason.

use std::time::Duration;

/// Bytes of a segment after which a new one begins. Some 3,300 traces, which are recompressed in a few seconds. A
/// segment wastes half a disk block on average, 0.2 % of this.
pub const SEGMENT_BYTES: u64 = 1024 * 1024;

/// Age of a segment after which a new one begins, so that a corpus with few traces is recompressed too, and old traces
/// can be deleted by the day.
pub const SEGMENT_AGE: Duration = Duration::from_hours(24);

/// Traces in a frame of a recompressed segment. With more, reading one trace takes longer: 64 traces of 24
/// spans are 160 kB before compression.
pub const FRAME_TRACES: usize = 64;

/// Uncompressed bytes after which a frame of a recompressed segment takes no further trace.
pub const FRAME_BYTES: usize = 256 * 1024;

/// Uncompressed bytes of one frame, at most. One trace of 24 spans is 2.5 kB; a segment may claim any length.
/// Decoded, damaged data takes up to 32 times as much: 64 MiB.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Compressed bytes of one frame, at most. Compressed data is hardly longer than the data itself.
pub const DATA_BYTES_MAX: usize = FRAME_BYTES_MAX + 64 * 1024;

/// Bytes of one block, at most: the ids of as many traces as its index can count, its frame, and less than 64 bytes
/// around them. A reader has one block in memory.
pub const BLOCK_BYTES_MAX: usize = 16 * u16::MAX as usize + DATA_BYTES_MAX + 64;

/// Bytes that are read from a segment at once.
pub const READ_BYTES: usize = 256 * 1024;

/// Compression level of an appended trace, at the end of a command: the default of zstd.
pub const APPEND_LEVEL: i32 = 3;

/// Compression level of a closed segment. No command waits for it.
pub const COMPACT_LEVEL: i32 = 19;

/// Span ids that another id may be derived from. A part of a trace has one call id; a file may claim any number.
pub const CALL_IDS_MAX: usize = 8;

/// Arrays within arrays of an attribute's value. Exporters write one level.
pub const VALUE_DEPTH_MAX: usize = 8;

/// Bytes of the lock file: the name of the active segment is shorter.
pub const LOCK_FILE_BYTES: usize = 256;
