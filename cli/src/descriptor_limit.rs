//! The limit on open file descriptors. Most systems have a low soft limit and a much higher hard limit.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to `wanted`, or to the hard limit if that is lower. Never lowers it. Returns the previous
/// limit if it was raised, for child processes: some use select(2), or close every descriptor up to the limit.
pub(crate) fn raise(wanted: u64) -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let before = limit.current.filter(|current| *current < wanted)?;
    limit.current = Some(wanted);
    // If this fails, a later operation without a free descriptor reports it.
    setrlimit(Resource::Nofile, limit).ok().map(|()| before)
}
