//! The names of the attributes of requests. `docs/STAGES.md` describes them.

pub(super) use baton_trace::attribute::ESTIMATED;

/// On `request`: the ordinal that the client gave the request, in decimal digits.
pub(super) const REQUEST_ORDINAL: &str = "baton.request.ordinal";
/// On `request`: nanoseconds of it that the server's parts cover. A union, not a sum.
pub(super) const REQUEST_COVERED_NS: &str = "baton.request.covered_ns";
/// On `request`: the rest of it, in nanoseconds.
pub(super) const REQUEST_REST_NS: &str = "baton.request.rest_ns";
/// On a `request` whose report had more parts than are kept: how many were dropped.
pub(super) const REQUEST_DROPPED_PARTS: &str = "baton.request.dropped_parts";
/// On a server's part that nests, encloses or overlaps another: which of these.
pub(super) const REQUEST_PART_RELATION: &str = "baton.request.part_relation";
/// `true` on a server's part that was cut at the end of the client's interval.
pub(super) const REQUEST_PART_CLAMPED: &str = "baton.request.part_clamped";
/// On a step: requests that the client stamped.
pub(super) const REQUESTS_STARTED: &str = "baton.requests.started";
/// On a step: requests whose report came in time.
pub(super) const REQUESTS_MATCHED: &str = "baton.requests.matched";
/// On a step: requests that were given up without a report.
pub(super) const REQUESTS_LOST: &str = "baton.requests.lost";
/// On a step: reports of lost requests.
pub(super) const REQUESTS_LATE: &str = "baton.requests.late";
/// On a step: further reports of a request.
pub(super) const REQUESTS_DUPLICATE: &str = "baton.requests.duplicate";
/// On a step: reports that belong to no remembered request.
pub(super) const REQUESTS_UNKNOWN: &str = "baton.requests.unknown";
