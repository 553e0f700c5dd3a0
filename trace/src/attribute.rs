//! The names of Baton's own attributes. `docs/STAGES.md` describes them; conventional ones come from
//! `opentelemetry-semantic-conventions`.

/// On every span: the stage's name in the tables.
pub const STAGE: &str = "baton.stage";
/// On a stage's further attempts: 1 for the second. Absent on the first.
pub const ATTEMPT: &str = "baton.attempt";
/// On the `rpc` of a call that was cut short, and on the span of a command that was killed: why, by the name of its [`CallEnd`](crate::call_end::CallEnd).
pub const CALL_END: &str = "baton.call_end";
/// `true` on a stage whose duration was measured and whose position was not.
pub const ESTIMATED: &str = "baton.estimated";
/// On a client's `call`: nanoseconds of it that no covering stage accounts for. Always present there.
pub const REMAINDER_NS: &str = "baton.remainder_ns";
/// On a client's `call`: the server's clock minus the client's, in nanoseconds, where the session knows it.
pub const CLOCK_OFFSET_NS: &str = "baton.clock.offset_ns";
/// On a client's `call`: the true offset lies within this of the estimate, in nanoseconds.
pub const CLOCK_ERROR_NS: &str = "baton.clock.error_ns";
/// On the span of a command: its id on the exec-server, in hexadecimal digits.
pub const PROCESS_ID: &str = "baton.process.id";
/// On the span of a command: its [outcome](crate::outcome), by its name.
pub const OUTCOME: &str = "baton.outcome";
/// On the span of a command that did not exit with 0: whose [fault](crate::outcome::Fault) that is, by its name.
pub const FAULT: &str = "baton.fault";
/// On the span of a command that failed to start: [why](crate::outcome::StartFailure), by its name.
pub const START_FAILURE: &str = "baton.start_failure";
/// On the span of a command that a signal ended: the signal's name without `SIG`, or its number where it has none.
pub const SIGNAL: &str = "baton.signal";
/// On the span of a command that was killed: the number of its descendants that the exec-server could not kill. Absent: 0.
pub const SURVIVORS: &str = "baton.survivors";
/// On the span of a command: the caller's thread that it belongs to.
pub const THREAD: &str = "baton.thread";
/// On the span of a command: the number of the turn of the caller's loop that it belongs to.
pub const TURN: &str = "baton.turn";
/// On the span of a command: the id of the step of that turn.
pub const STEP: &str = "baton.step";
/// On the `call` of a command of a turn: the first 8 bytes of a keyed hash of its method, arguments and directory, in
/// hexadecimal digits. Equal commands of one client key have the same. Without that key, arguments cannot be guessed.
pub const ARGUMENTS_FINGERPRINT: &str = "baton.arguments.fingerprint";
/// On a server's `process`: the client's name on the allow-list.
pub const CLIENT: &str = "baton.client";
/// On the `process` of a command with a [family](crate::family): the name of the family.
pub const FAMILY: &str = "baton.family";
/// On the `process` of a command with a family: nanoseconds until the first output after the last known marker that no
/// stage of the family accounts for.
pub const FAMILY_REMAINDER_NS: &str = "baton.family.remainder_ns";
/// On the `process` of a command with a family: why it has no `family.cli_ready`.
pub const FAMILY_CLI_READY_UNAVAILABLE: &str = "baton.family.cli_ready.unavailable";
/// On the `process` of a command with a family: why it has no `family.session_init`.
pub const FAMILY_SESSION_INIT_UNAVAILABLE: &str = "baton.family.session_init.unavailable";
/// On the `process` of a command with a family: why it has no `family.first_output`.
pub const FAMILY_FIRST_OUTPUT_UNAVAILABLE: &str = "baton.family.first_output.unavailable";
/// On `metadata.persist`: merged patches in the batch.
pub const META_PATCHES: &str = "baton.meta.patches";
/// On `metadata.persist`: rows that the batch inserted, changed or deleted.
pub const META_ROWS: &str = "baton.meta.rows";
/// On `metadata.persist`: nanoseconds that the oldest patch of the batch waited until its write began. The rest of the
/// span is the write.
pub const META_QUEUE_NS: &str = "baton.meta.queue_ns";
/// On a failed `metadata.flush`: dropped records that no client has acknowledged.
pub const META_DROPPED: &str = "baton.meta.dropped";
/// On the root span of a component's part of a call (`call`, `rpc`): how many spans the part has. The relay's are in the
/// client's part. Readers wait for as many.
pub const SPANS: &str = "baton.spans";
/// On a resource whose spans another component reports: the `service.instance.id` of the reporter.
pub const REPORTED_BY: &str = "baton.reported_by";
