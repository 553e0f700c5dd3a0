//! Stages of the store of metadata: what it does beside the calls whose records it writes.
//!
//! Nobody waits for it, so none of them lies in a call. Each is a trace of its own, of one span, that links to the spans it is about.

use super::{Component, StageDef, StageId, StageKind};

/// A batch of records on its way to the disk.
pub const METADATA_PERSIST: StageId = StageId(48);
/// A barrier.
pub const METADATA_FLUSH: StageId = StageId(49);

#[rustfmt::skip]
/// The table.
pub const STAGES: &[StageDef] = &[
    row(METADATA_PERSIST, "metadata.persist", "oldest record of the batch accepted", "batch on disk"),
    row(METADATA_FLUSH, "metadata.flush", "barrier asked for", "all accepted before it on disk, or a failure known"),
];

const fn row(id: StageId, name: &'static str, from: &'static str, to: &'static str) -> StageDef {
    StageDef {
        id,
        name,
        parent: None,
        kind: StageKind::Internal,
        from,
        to,
        exporter: Component::Server,
        covers: false,
    }
}
