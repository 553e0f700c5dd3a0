//! Finds stages by name. Every span of every trace is looked up, so the built-in rows are in a hash table.

use std::collections::HashMap;
use std::sync::LazyLock;

use baton_trace::report::tree;
use baton_trace::stage::{self, StageId, metadata};

static BUILT_IN: LazyLock<HashMap<&'static str, StageId>> = LazyLock::new(|| {
    let rows = stage::all().chain(metadata::STAGES);
    rows.map(|row| (row.name, row.id)).collect()
});

/// Stages of a caller's turn (`baton-turn`). They are in no call: a file that an agent writes has them beside its calls.
const OF_TURNS: [&str; 3] = ["ttft", "decode", "tool.dispatch"];

/// The stage with this name, or with this label of an unknown one. No stage has the id 0, which stands for a name of a
/// newer version. `None`: a stage of a turn.
pub(super) fn find(name: &str) -> Option<StageId> {
    match BUILT_IN.get(name) {
        Some(stage) => Some(*stage),
        None if OF_TURNS.contains(&name) => None,
        None => Some(tree::from_label(name).unwrap_or(StageId(0))),
    }
}
