//! Stages of a process, under the `rpc` stage of the call that runs it.

use super::transport::RPC;
use super::{Component, StageDef, StageId, StageKind};

/// The whole lifecycle of the process.
pub const PROCESS: StageId = StageId(32);
/// Creating the process.
pub const PROCESS_SPAWN: StageId = StageId(33);
/// Until the first byte of output.
pub const PROCESS_FIRST_OUTPUT: StageId = StageId(34);
/// Standard output.
pub const PROCESS_STDOUT: StageId = StageId(35);
/// Standard error.
pub const PROCESS_STDERR: StageId = StageId(36);
/// Until the exit is observed. If its span is exported, it is the parent that the child's `TRACEPARENT` names.
pub const PROCESS_WAIT: StageId = StageId(37);
/// From the exit to the end of the pipes.
pub const PROCESS_CLOSE: StageId = StageId(38);
/// Waiting for the record of the start to be on disk, if the exec-server was configured to require this.
pub const START_DURABLE: StageId = StageId(39);
/// Until the ready marker of the command's [family](crate::family).
pub const FAMILY_CLI_READY: StageId = StageId(40);
/// From the ready marker until the caller reports session init.
pub const FAMILY_SESSION_INIT: StageId = StageId(41);
/// From session init until the first byte of output after it.
pub const FAMILY_FIRST_OUTPUT: StageId = StageId(42);

/// Stages that run concurrently with the wait for the process, so they are not on the awaited path. An exported span of
/// one ends at least 1 µs before the `process.wait` or `process.close` in which it ends, because Jaeger's critical path
/// follows the child that ends last.
pub const CONCURRENT: [StageId; 6] = [
    PROCESS_FIRST_OUTPUT,
    PROCESS_STDOUT,
    PROCESS_STDERR,
    FAMILY_CLI_READY,
    FAMILY_SESSION_INIT,
    FAMILY_FIRST_OUTPUT,
];

#[rustfmt::skip]
/// The table, in waterfall order.
pub const STAGES: &[StageDef] = &[
    row(START_DURABLE, "start.durable", RPC, "start accepted", "its record durable", true),
    row(PROCESS, "process", RPC, "spawn begins", "Closed emitted", false),
    row(PROCESS_SPAWN, "process.spawn", PROCESS, "spawn begins", "exec begins", true),
    row(PROCESS_FIRST_OUTPUT, "process.first_output", PROCESS, "exec begins", "first byte read", false),
    row(PROCESS_STDOUT, "process.stdout", PROCESS, "first byte read", "end of file", false),
    row(PROCESS_STDERR, "process.stderr", PROCESS, "first byte read", "end of file", false),
    row(FAMILY_CLI_READY, "family.cli_ready", PROCESS, "spawn begins", "ready marker in standard output", false),
    row(FAMILY_SESSION_INIT, "family.session_init", PROCESS, "ready marker", "session init reported", false),
    row(
        FAMILY_FIRST_OUTPUT, "family.first_output", PROCESS,
        "session init reported", "first byte of standard output after it", false,
    ),
    row(PROCESS_WAIT, "process.wait", PROCESS, "exec begins", "exit observed", true),
    row(PROCESS_CLOSE, "process.close", PROCESS, "exit observed", "Closed emitted", true),
];

const fn row(
    id: StageId,
    name: &'static str,
    parent: StageId,
    from: &'static str,
    to: &'static str,
    covers: bool,
) -> StageDef {
    StageDef {
        id,
        name,
        parent: Some(parent),
        kind: StageKind::Internal,
        from,
        to,
        exporter: Component::Server,
        covers,
    }
}
