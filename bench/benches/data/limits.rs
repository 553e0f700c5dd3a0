//! What is measured through, and under what conditions.

use std::time::Duration;

use baton_bench::link::Shape;

/// The long, narrow link: 200 Mbit/s and 20 ms, each way.
pub(crate) const LINK: Shape = Shape {
    bytes_per_second: 25e6,
    one_way: Duration::from_millis(20),
};

/// Sessions of one exec-server, as many as a relay allows it.
pub(crate) const SESSIONS: usize = 64;

/// Client processes that hold the idle sessions, all alike.
pub(crate) const CROWDS: usize = 4;

/// Bytes a stream may make a part hold towards a reader that does not read, as stated: the window, and what gRPC's
/// decoder took.
pub(crate) const WINDOW: u64 = baton_mux::limits::STREAM_MEMORY as u64;

/// How long the reader stalls that memory is watched beside.
pub(crate) const STALL_SECONDS: u64 = 10;

/// What it has read before.
pub(crate) const READ_BEFORE_STALL: u64 = 16 << 20;

/// What has flowed before that, to a reader that reads, so that what a stream takes anyway is there.
pub(crate) const FLOW_BEFORE_STALL: u64 = 256 << 20;

/// Between two looks at how much memory somebody uses.
pub(crate) const WATCH: Duration = Duration::from_millis(100);

/// How long frozen sessions may take until nothing moves any more.
pub(crate) const SETTLE: Duration = Duration::from_secs(20);

/// Open files that the largest crowd takes of the relay, with room to spare.
pub(crate) const OPEN_FILES: u64 = 8192;
