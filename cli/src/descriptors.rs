//! The limit on open descriptors. Most systems set it low for programs that do not ask, and allow much more.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises it to `wanted`, or as far as is allowed. A higher one stays.
pub(crate) fn allow(wanted: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // What fails for want of a descriptor later says so.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
