//! The stages of a call in display order, with their depth.
//!
//! The parent of a stage is its parent in the table; if that is absent, the nearest ancestor that is present, or else
//! the envelope. Every stage is shown: an id that this process does not know comes from a newer peer, or from a table
//! that this process did not register, and is shown as unknown.

use std::borrow::Cow;

use crate::record::{CallRecord, StageRecord};
use crate::stage::{self, StageId, transport};

/// One stage with its depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageRow<'a> {
    /// 0 directly under the envelope.
    pub depth: usize,
    /// What was measured.
    pub stage: &'a StageRecord,
}

/// The displayed and exported name of a stage; `unknown(<id>)` for unknown ids.
pub fn label(stage: StageId) -> Cow<'static, str> {
    match stage.def() {
        Some(def) => Cow::Borrowed(def.name),
        None => Cow::Owned(format!("unknown({})", stage.0)),
    }
}

/// The id with this [`label`].
pub fn from_label(label: &str) -> Option<StageId> {
    let unknown = label.strip_prefix("unknown(");
    match unknown.and_then(|id| id.strip_suffix(')')) {
        Some(id) => id.parse().ok().map(StageId),
        None => stage::by_name(label).map(|def| def.id),
    }
}

/// Every stage but the envelope, parents before children, siblings by start and then by table order.
pub fn rows(record: &CallRecord) -> Vec<StageRow<'_>> {
    let mut forest = Forest::of(record);
    let mut rows = Vec::with_capacity(record.stages.len());
    let mut pending = forest.take_children(None, 0);
    while let Some((index, depth)) = pending.pop() {
        rows.push(StageRow {
            depth,
            stage: &record.stages[index],
        });
        pending.extend(forest.take_children(Some(index), depth + 1));
    }
    rows
}

/// The index in `stages` of the nearest ancestor of `of` that is present, the envelope excepted. If there are several
/// records of that stage, it is the one with the same attempt, else the first.
pub fn present_parent(stages: &[StageRecord], of: &StageRecord) -> Option<usize> {
    let mut ancestor = of.stage.def()?.parent;
    while let Some(id) = ancestor.filter(|id| *id != transport::CALL) {
        let same = stages
            .iter()
            .position(|s| s.stage == id && s.attempt == of.attempt);
        let found = same.or_else(|| stages.iter().position(|s| s.stage == id));
        if found.is_some() {
            return found;
        }
        ancestor = id.def()?.parent;
    }
    None
}

/// Children by parent. The tables are acyclic (a parent stands above its children), so this is a forest.
struct Forest {
    /// (parent, child), sorted so that the last sibling to be shown comes first: they are popped from a stack.
    edges: Vec<(Option<usize>, usize)>,
}

impl Forest {
    fn of(record: &CallRecord) -> Self {
        let stages = &record.stages;
        let mut edges: Vec<_> = (0..stages.len())
            .filter(|index| stages[*index].stage != transport::CALL)
            .map(|index| (present_parent(stages, &stages[index]), index))
            .collect();
        edges.sort_by_key(|&(parent, index)| {
            let stage = &stages[index];
            let order = (stage.start_ns, table_order(stage.stage), stage.attempt, index);
            (parent, std::cmp::Reverse(order))
        });
        Self { edges }
    }

    fn take_children(&mut self, parent: Option<usize>, depth: usize) -> Vec<(usize, usize)> {
        let from = self.edges.partition_point(|(p, _)| *p < parent);
        let to = self.edges.partition_point(|(p, _)| *p <= parent);
        self.edges[from..to]
            .iter()
            .map(|&(_, child)| (child, depth))
            .collect()
    }
}

/// Position in the tables, the registered rows after the built-in ones; unknown ids come last, by number.
fn table_order(stage: StageId) -> (usize, u8) {
    let position = stage::all()
        .chain(stage::registered())
        .position(|def| def.id == stage);
    (position.unwrap_or(usize::MAX), stage.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stage::{exec::*, transport::*};
    use crate::test_records::{record, stage};

    fn shown(stages: Vec<StageRecord>) -> Vec<String> {
        let record = record(stages);
        let line = |row: &StageRow<'_>| format!("{}{}", "  ".repeat(row.depth), label(row.stage.stage));
        rows(&record).iter().map(line).collect()
    }

    #[test]
    fn children_hang_under_their_table_parents() {
        let stages = vec![
            stage(PROCESS_WAIT, 60, 90),
            stage(PROCESS, 50, 95),
            stage(RELAY_QUEUE, 20, 25),
            stage(CALL, 0, 100),
            stage(RPC, 50, 96),
            stage(PROCESS_SPAWN, 50, 60),
            stage(TRANSIT, 10, 40),
            stage(DISPATCH, 0, 10),
        ];
        let tree = [
            "dispatch",
            "transit",
            "  relay.queue",
            "rpc",
            "  process",
            "    process.spawn",
            "    process.wait",
        ];
        assert_eq!(shown(stages), tree);
    }

    #[test]
    fn an_absent_parent_is_stepped_over() {
        assert_eq!(
            shown(vec![stage(PROCESS_WAIT, 60, 90), stage(RPC, 50, 95)]),
            ["rpc", "  process.wait"]
        );
        assert_eq!(shown(vec![stage(PROCESS_WAIT, 60, 90)]), ["process.wait"]);
    }

    #[test]
    fn siblings_of_one_start_follow_the_table() {
        let stages = vec![
            stage(CLIENT_SEAL, 5, 5),
            stage(CLIENT_QUEUE, 5, 5),
            stage(DISPATCH, 5, 5),
        ];
        assert_eq!(shown(stages), ["dispatch", "client.queue", "client.seal"]);
    }

    #[test]
    fn unknown_stages_are_shown_as_unknown() {
        let stages = vec![
            stage(CALL, 0, 100),
            stage(StageId(200), 5, 6),
            stage(DISPATCH, 0, 5),
        ];
        assert_eq!(shown(stages), ["dispatch", "unknown(200)"]);
    }

    #[test]
    fn labels_round_trip() {
        for id in 0..=u8::MAX {
            assert_eq!(from_label(&label(StageId(id))), Some(StageId(id)));
        }
        assert_eq!(from_label("unknown(256)"), None);
        assert_eq!(from_label("gc"), None);
    }

    proptest! {
        #[test]
        fn every_stage_but_the_envelope_is_shown_exactly_once(ids in prop::collection::vec(0u8..45, 0..40)) {
            let stages: Vec<_> = ids.iter().map(|id| stage(StageId(*id), i64::from(*id), 100)).collect();
            let envelope = ids.iter().filter(|id| **id == CALL.0).count();
            let record = record(stages);
            let rows = rows(&record);
            prop_assert_eq!(rows.len(), ids.len() - envelope);
            for row in &rows {
                let times = |rows: &[StageRow<'_>]| rows.iter().filter(|r| std::ptr::eq(r.stage, row.stage)).count();
                prop_assert_eq!(times(&rows), 1);
            }
        }
    }
}
