//! What the exec-server does for its records, which no call waits for: spans of traces of their own, linked to the calls they were
//! made for. They are no part of a call: never under its envelope, never in its timings.

use super::{Exporter, Kind, StageDef, StageId};

/// Records on their way from the queue to the disk: one batch.
pub const META_PERSIST: StageId = StageId(48);
/// A barrier: from the request to its answer.
pub const META_FLUSH: StageId = StageId(49);

#[rustfmt::skip]
/// The table.
pub const STAGES: &[StageDef] = &[
    row(META_PERSIST, "meta.persist", "the batch taken from the queue", "committed, or failed"),
    row(META_FLUSH, "meta.flush", "barrier asked for", "everything before it durable, or reported"),
];

const fn row(id: StageId, name: &'static str, from: &'static str, to: &'static str) -> StageDef {
    StageDef {
        id,
        name,
        parent: None,
        kind: Kind::Internal,
        from,
        to,
        exporter: Exporter::Server,
        covers: false,
    }
}
