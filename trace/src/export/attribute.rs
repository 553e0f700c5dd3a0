//! The names of Baton's own attributes. `docs/STAGES.md` describes them; conventional ones come from
//! `opentelemetry-semantic-conventions`.

/// On every span: the stage's name in the tables.
pub const STAGE: &str = "baton.stage";
/// On a stage's further attempts: 1 for the second. Absent on the first.
pub const ATTEMPT: &str = "baton.attempt";
/// `true` on a stage whose duration was measured and whose position was not.
pub const ESTIMATED: &str = "baton.estimated";
/// On a client's `call`: nanoseconds of it that no covering stage accounts for. Always present there.
pub const REMAINDER_NS: &str = "baton.remainder_ns";
/// On a client's `call`: the server's clock minus the client's, in nanoseconds, where the session knows it.
pub const CLOCK_OFFSET_NS: &str = "baton.clock.offset_ns";
/// On a client's `call`: the true offset lies within this of the estimate, in nanoseconds.
pub const CLOCK_ERROR_NS: &str = "baton.clock.error_ns";
/// On `meta.persist`: how long its oldest update had waited in the queue, in nanoseconds.
pub const META_QUEUE_AGE_NS: &str = "baton.meta.queue_age_ns";
/// On `meta.persist`: rows that the batch wrote. On `meta.flush`: updates that it covered.
pub const META_UPDATES: &str = "baton.meta.updates";
/// On `meta.flush`: its generation.
pub const META_GENERATION: &str = "baton.meta.generation";
/// On a resource whose spans another part reports: the `service.instance.id` of the part that does.
pub const REPORTED_BY: &str = "baton.reported_by";
