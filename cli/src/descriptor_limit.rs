//! The limit on open descriptors. Most systems set it low for programs that do not ask, and allow much more.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises it to `wanted`, or as far as is allowed. A higher one stays. Returns what it was if it was raised: programs started from here may want
/// that, as those that wait by select(2) and close all that they may have open.
pub(crate) fn raise(wanted: u64) -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let before = limit.current.filter(|current| *current < wanted)?;
    limit.current = Some(wanted);
    // What fails for want of a descriptor later says so.
    setrlimit(Resource::Nofile, limit).ok().map(|()| before)
}
