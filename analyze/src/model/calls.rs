//! The tree of a trace, and its calls.

use std::collections::HashMap;

use baton_trace::SpanId;
use baton_trace::attribute;
use baton_trace::stage::transport;

use super::Trace;
use crate::limits::STAGE_DEPTH_MAX;

/// The parent of each span by index. Where spans share an id, children belong to the first one.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    parents: Vec<Option<u32>>,
}

/// The spans of one call: its stages, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSpans {
    /// The `call`; without one the outermost `rpc`. `None`: both are missing, and other stages are here.
    pub head: Option<usize>,
    /// The id of the head; without one, of the first span above that is missing, or of the outermost stage.
    pub envelope: SpanId,
    /// The stages, with the head.
    pub stages: Vec<usize>,
}

impl CallSpans {
    /// How many spans the parts of the call announce together; `None` if no part does.
    pub fn announced(&self, trace: &Trace) -> Option<i64> {
        let spans = self.stages.iter().map(|index| &trace.spans()[*index]);
        let roots = spans.filter(|span| matches!(span.stage, Some(transport::CALL | transport::RPC)));
        roots
            .filter_map(|root| trace.integer(root, attribute::SPANS))
            .reduce(i64::saturating_add)
    }
}

impl Tree {
    /// The tree of a trace.
    pub fn of(trace: &Trace) -> Self {
        let spans = trace.spans();
        // A trace has some tens of spans. Comparing them beats hashing them.
        if spans.len() <= 64 {
            let find = |id: SpanId| spans.iter().position(|span| span.id == id);
            let parent = |span: &super::Span| Some(find(span.parent?)? as u32);
            return Self {
                parents: spans.iter().map(parent).collect(),
            };
        }
        let mut by_id: HashMap<SpanId, u32> = HashMap::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            by_id.entry(span.id).or_insert(index as u32);
        }
        let parent = |span: &super::Span| by_id.get(&span.parent?).copied();
        Self {
            parents: spans.iter().map(parent).collect(),
        }
    }

    /// The parent's index; `None` for a root, and where the parent is missing.
    pub fn parent(&self, index: usize) -> Option<usize> {
        self.parents[index].map(|parent| parent as usize)
    }

    /// The calls of the trace, in the order of their first span. A call includes a stage if only stages are between
    /// them.
    pub fn calls(&self, trace: &Trace) -> Vec<CallSpans> {
        let mut calls: Vec<(Result<usize, SpanId>, CallSpans)> = Vec::new();
        for (index, span) in trace.spans().iter().enumerate() {
            let Some(stage) = span.stage else {
                continue;
            };
            // It belongs to no call, unless a server claims so.
            if stage.is_background() && span.parent.is_none() {
                continue;
            }
            let key = self.head(trace, index);
            match calls.iter_mut().rev().find(|(known, _)| *known == key) {
                Some((_, call)) => call.stages.push(index),
                None => calls.push((
                    key,
                    CallSpans {
                        head: key.ok(),
                        envelope: key.map_or_else(|missing| missing, |head| trace.spans()[head].id),
                        stages: vec![index],
                    },
                )),
            }
        }
        calls.into_iter().map(|(_, call)| call).collect()
    }

    /// The nearest `call` above, else the outermost `rpc`, else the id of the first span above that is missing.
    fn head(&self, trace: &Trace, index: usize) -> Result<usize, SpanId> {
        let spans = trace.spans();
        let mut at = index;
        let mut rpc = None;
        for _ in 0..STAGE_DEPTH_MAX {
            match spans[at].stage {
                Some(transport::CALL) => return Ok(at),
                Some(transport::RPC) => rpc = Some(at),
                _ => {}
            }
            let above = self.parent(at);
            match above.filter(|above| spans[*above].stage.is_some()) {
                Some(above) => at = above,
                None => break,
            }
        }
        rpc.ok_or_else(|| spans[at].parent.unwrap_or(spans[at].id))
    }
}
