//! Parameters of the measurements: the link, the project, the pool and timeouts.

use std::time::Duration;

use baton_bench::link::Shape;

/// The congestion control of the phase `family`, beside the system's default. bbr, a common default, paces loopback by
/// its estimate of the rate, and visits then vary by several times the bar.
pub(crate) const FAMILY_CONTROL: &str = "cubic";

/// The link of the phase `root`: a round trip of 20 ms, and a rate that its small messages do not notice.
pub(crate) const LINK: Shape = Shape {
    bytes_per_second: 125e6,
    one_way: Duration::from_millis(10),
};

/// The number of directories between the project root and the start of the search.
pub(crate) const LEVELS: usize = 12;

/// The marker in the project root. No directory above a temporary directory has one of this name.
pub(crate) const MARKER: &str = ".baton-bench-root";

/// Sessions that the pool keeps ready.
pub(crate) const POOL_SIZE: usize = 2;

/// The time for which every session is idle before a command of the phase `pool`. The handshakes that filled the pool
/// are over, and all participants find the processors in the same state.
pub(crate) const POOL_PAUSE: Duration = Duration::from_millis(5);

/// The time in which a pool must be full.
pub(crate) const POOL_PATIENCE: Duration = Duration::from_secs(30);
