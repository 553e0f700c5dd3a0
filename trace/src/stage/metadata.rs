//! Background stages of the metadata store.
//!
//! No call waits for them, so they belong to no call. Each is the only span of its own trace, and links to the spans
//! whose records it writes.

use super::{Component, StageDef, StageId, StageKind};

/// Writing a batch of records to disk.
pub const METADATA_PERSIST: StageId = StageId(48);
/// Completing a barrier.
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
