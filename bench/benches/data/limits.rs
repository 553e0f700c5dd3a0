//! Parameters of the measurements: the link, session counts, byte counts and timeouts.

use std::time::Duration;

use baton_bench::link::Shape;

/// The slow link: 200 Mbit/s and 20 ms in each direction.
pub(crate) const LINK: Shape = Shape {
    bytes_per_second: 25e6,
    one_way: Duration::from_millis(20),
};

/// Bytes of each uncounted stream through the link. TCP reaches the link's rate within the first few round trips, which
/// are 1 MB each.
pub(crate) const LINK_WARM_UP: u64 = 10_000_000;

/// Sessions of one exec-server: the relay's limit.
pub(crate) const SESSIONS: usize = 64;

/// Client processes that share the idle sessions equally.
pub(crate) const CROWDS: usize = 4;

/// The documented bound on a component's memory for one stream whose reader stalls: the window, and the bytes in gRPC's
/// decoder.
pub(crate) const WINDOW: u64 = baton_mux::limits::STREAM_MEMORY as u64;

/// Seconds for which the reader stalls.
pub(crate) const STALL_SECONDS: u64 = 10;

/// Bytes that the reader reads before it stalls.
pub(crate) const READ_BEFORE_STALL: u64 = 16 << 20;

/// Bytes that are streamed to a reader that does not stall, before the baseline is taken. The baseline then includes
/// the memory of a flowing stream.
pub(crate) const FLOW_BEFORE_STALL: u64 = 256 << 20;

/// The interval between two readings of a process's memory.
pub(crate) const WATCH: Duration = Duration::from_millis(100);

/// The time within which relay and exec-server must become idle after the client of the stalled sessions is frozen.
pub(crate) const SETTLE: Duration = Duration::from_secs(20);

/// The limit on open files that the relay needs for the largest number of sessions, with a margin.
pub(crate) const OPEN_FILES: u64 = 65_536;

/// The buffer of the blind relay for each direction of a connection: as much as Baton's relay queues for a session.
pub(crate) const RELAY_BUFFER: usize = 256 * 1024;

/// The capacity of a pipe that carries a stream, on every transport. Baton enlarges a pipe with much data to this, on
/// both ends; a peer's pipes get it from the benchmark. If the system refuses, they keep theirs.
pub(crate) const LARGE_PIPE: usize = 1024 * 1024;
