//! Parameters of the measurements: the pool and timeouts.

use std::time::Duration;

/// Sessions that the pool keeps ready.
pub(crate) const POOL_SIZE: usize = 2;

/// The time for which every session is idle before a command of the phase `pool`. The handshakes that filled the pool
/// are over, and all participants find the processors in the same state.
pub(crate) const POOL_PAUSE: Duration = Duration::from_millis(5);

/// The time in which a pool must be full.
pub(crate) const POOL_PATIENCE: Duration = Duration::from_secs(30);
