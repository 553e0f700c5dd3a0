//! The names of the attributes of a step's prefix. `docs/STAGES.md` describes them.

/// On a step: the fingerprint of the request's prefix, 32 hexadecimal digits.
pub(super) const FINGERPRINT: &str = "baton.prefix.fingerprint";
/// On a step whose prefix drifted, or cannot be cached in full: the name of the first section at fault.
pub(super) const DRIFT: &str = "baton.prefix.drift";
/// On a step: what the comparison with the previous request found, by the names of
/// [`PrefixReason`](super::PrefixReason).
pub(super) const REASON: &str = "baton.prefix.reason";
