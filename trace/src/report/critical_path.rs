//! The critical path of a trace, as Jaeger's UI (2.14 to 2.20) computes it, and a check of its invariants.
//!
//! Jaeger counts in whole microseconds. It first clips children to their parents, from the roots downwards. Then it
//! walks backwards from the end of each root: to the child that ends last; from there to the sibling that ends last
//! among those that end *before* that child began; and so on. So a child that overlaps or touches the previously
//! selected one is omitted with its descendants, and its time counts as its parent's own. [`check`] reports where that
//! happened to time that a caller waited for.
//!
//! Spans from peers and files are untrusted: nothing here panics or recurses on any of them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;

use opentelemetry::SpanId;
pub use opentelemetry::trace::SpanKind;

use crate::stage::{StageId, exec, transport};

/// A span of one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSpan {
    /// Its id.
    pub id: SpanId,
    /// Its parent's id. A span whose parent is missing is a root.
    pub parent: Option<SpanId>,
    /// Jaeger omits a consumer under a producer.
    pub kind: SpanKind,
    /// Start, in microseconds since the Unix epoch.
    pub start_us: u64,
    /// End, in microseconds since the Unix epoch.
    pub end_us: u64,
    /// Its stage; `None` for a span that is not Baton's.
    pub stage: Option<StageId>,
    /// Of a `call`: the remainder in nanoseconds.
    pub remainder_ns: Option<u64>,
}

/// A section of the critical path that is the own time of one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathSection {
    /// Index of the span.
    pub span: usize,
    /// Start, in microseconds since the Unix epoch.
    pub start_us: u64,
    /// End, in microseconds since the Unix epoch.
    pub end_us: u64,
}

impl PathSection {
    /// Length in microseconds.
    pub fn duration_us(&self) -> u64 {
        self.end_us.saturating_sub(self.start_us)
    }
}

/// What becomes of a child that ends exactly where the next one on the path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// It is omitted, as Jaeger does.
    Omitted,
    /// It is on the path. For times that were not rounded: stages then follow each other without a gap.
    Followed,
}

/// The critical path of each root, from its end to its start, one root after the other. Empty sections are omitted.
pub fn critical_path(spans: &[PathSpan]) -> Vec<PathSection> {
    path(spans, Contact::Omitted)
}

/// The same with a choice about spans in contact. The unit of time may be any.
pub fn path(spans: &[PathSpan], contact: Contact) -> Vec<PathSection> {
    let tree = SpanTree::of(spans);
    tree.roots
        .iter()
        .flat_map(|root| tree.walk(*root, contact))
        .collect()
}

/// The spans by parent, clipped to their parents.
struct SpanTree {
    roots: Vec<usize>,
    parents: Vec<Option<usize>>,
    /// The remaining children of each span: latest end first, then earliest start.
    children: Vec<Vec<usize>>,
    /// Start and end. Meaningless for an omitted span.
    bounds: Vec<(u64, u64)>,
}

impl SpanTree {
    fn of(spans: &[PathSpan]) -> Self {
        let mut by_id: HashMap<SpanId, usize> = HashMap::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            by_id.entry(span.id).or_insert(index);
        }
        let mut tree = Self {
            roots: Vec::new(),
            parents: vec![None; spans.len()],
            children: vec![Vec::new(); spans.len()],
            bounds: spans
                .iter()
                .map(|span| (span.start_us, span.end_us.max(span.start_us)))
                .collect(),
        };
        let mut in_order: Vec<usize> = (0..spans.len())
            .filter(|&index| by_id[&spans[index].id] == index)
            .collect();
        in_order.sort_by_key(|&index| spans[index].start_us);
        for index in in_order {
            match spans[index].parent.and_then(|parent| by_id.get(&parent)) {
                Some(&parent) => {
                    tree.parents[index] = Some(parent);
                    tree.children[parent].push(index);
                }
                None => tree.roots.push(index),
            }
        }
        tree.cut(spans);
        tree
    }

    /// Clips children to their parents, parents first, and omits those that lie wholly outside.
    fn cut(&mut self, spans: &[PathSpan]) {
        let mut pending = self.roots.clone();
        while let Some(parent) = pending.pop() {
            let (first, last) = self.bounds[parent];
            let bounds = &mut self.bounds;
            self.children[parent].retain(|&child| {
                let (start, end) = bounds[child];
                // A child that began before its parent is outside if it ends at or before the parent's start; any
                // other, if it begins at or after the parent's end.
                let is_outside = match start >= first {
                    true => start >= last,
                    false => end <= first,
                };
                let is_pruned =
                    spans[parent].kind == SpanKind::Producer && spans[child].kind == SpanKind::Consumer;
                bounds[child] = (start.max(first), end.min(last));
                !is_outside && !is_pruned
            });
            let ends = &self.bounds;
            self.children[parent].sort_by_key(|&child| Reverse(ends[child].1));
            pending.extend_from_slice(&self.children[parent]);
        }
    }

    fn walk(&self, root: usize, contact: Contact) -> Vec<PathSection> {
        let mut sections = Vec::new();
        // For each span, the number of children that the walk has visited or skipped.
        let mut passed: HashMap<usize, usize> = HashMap::new();
        let mut at = root;
        let mut bound = self.bounds[root].1;
        let mut is_entered = true;
        loop {
            let next = passed.entry(at).or_default();
            while !is_entered
                && self.children[at].get(*next).is_some_and(|&child| match contact {
                    Contact::Omitted => self.bounds[child].1 >= bound,
                    Contact::Followed => self.bounds[child].1 > bound,
                })
            {
                *next += 1;
            }
            let child = self.children[at].get(*next).copied();
            *next += 1;
            let from = child.map_or(self.bounds[at].0, |child| self.bounds[child].1);
            if from < bound {
                sections.push(PathSection {
                    span: at,
                    start_us: from,
                    end_us: bound,
                });
            }
            match (child, self.parents[at]) {
                (Some(child), _) => (at, bound, is_entered) = (child, from, true),
                (None, Some(parent)) if at != root => (at, bound, is_entered) = (parent, from, false),
                (None, _) => return sections,
            }
        }
    }

    /// The spans that were not omitted.
    fn kept(&self) -> HashSet<usize> {
        let mut kept = HashSet::new();
        let mut pending = self.roots.clone();
        while let Some(span) = pending.pop() {
            kept.insert(span);
            pending.extend_from_slice(&self.children[span]);
        }
        kept
    }
}

/// A fault in the critical path of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathFinding {
    /// Two spans share an id.
    SharedId(SpanId),
    /// The own time of `call`, `rpc` and `process` on the path exceeds the remainder: a stage that the caller waited
    /// for was omitted.
    OwnTime {
        /// The `call`, or `rpc` where there is none.
        call: SpanId,
        /// The own time on the path, in microseconds.
        own_us: u64,
        /// The allowed own time, in microseconds.
        allowed_us: u64,
    },
    /// Output of a process, which is not awaited, is on the path instead of `process.wait` or `process.close`.
    Concurrent(StageId),
    /// This span is on the path and has child spans that the process made, but none of them is on the path.
    ChildLeftOut(SpanId),
}

impl fmt::Display for PathFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedId(id) => write!(f, "two spans have the id {id}"),
            Self::OwnTime {
                call,
                own_us,
                allowed_us,
            } => write!(
                f,
                "{own_us} µs of the critical path are the own time of call, rpc and process of {call}; {allowed_us} µs are unaccounted for"
            ),
            Self::Concurrent(stage) => write!(f, "{} is on the critical path", stage.name()),
            Self::ChildLeftOut(id) => write!(
                f,
                "the spans of the process under {id} are not on the critical path"
            ),
        }
    }
}

/// Checks the critical path of one trace. For each call, the own time of `call`, `rpc` and `process` on it is at most
/// the sum of the call's remainder, 1 µs for each gap that the exporter leaves between two stages, and 2 µs for the
/// rounding of the call itself. No output of a process is on the path. If the wait for a process is on it, so are the
/// spans that the process made.
pub fn check(spans: &[PathSpan]) -> Vec<PathFinding> {
    let mut findings = Vec::new();
    let mut ids = HashSet::new();
    findings.extend(
        spans
            .iter()
            .filter(|span| !ids.insert(span.id))
            .map(|span| PathFinding::SharedId(span.id)),
    );
    let tree = SpanTree::of(spans);
    let path: Vec<PathSection> = tree
        .roots
        .iter()
        .flat_map(|root| tree.walk(*root, Contact::Omitted))
        .collect();
    let mut own_us = vec![0; spans.len()];
    let mut on_path = HashSet::new();
    for section in &path {
        own_us[section.span] += section.duration_us();
        // A span without own time is on the path if one of its children is.
        let mut at = Some(section.span);
        while let Some(span) = at.filter(|span| on_path.insert(*span)) {
            at = tree.parents[span];
        }
    }
    for (index, span) in spans.iter().enumerate() {
        if let Some(stage) = span
            .stage
            .filter(|stage| exec::CONCURRENT.contains(stage) && on_path.contains(&index))
        {
            findings.push(PathFinding::Concurrent(stage));
        }
    }
    for (head, members) in calls(spans, &tree) {
        let own = members.iter().filter(|&&member| !is_leaf(spans[member].stage));
        let own_us: u64 = own.map(|&member| own_us[member]).sum();
        let is_between = |&&member: &&usize| {
            on_path.contains(&member)
                && tree.parents[member].is_some_and(|parent| !is_leaf(spans[parent].stage))
        };
        let gaps = members.iter().filter(is_between).count() as u64;
        let remainder_us = match spans[head].remainder_ns {
            Some(remainder_ns) => remainder_ns.div_ceil(1_000),
            None => uncovered_us(spans, head, &members),
        };
        let server_time_us = server_time_us(spans, head, &members);
        let allowed_us = remainder_us
            .saturating_add(server_time_us)
            .saturating_add(gaps + 2);
        if own_us > allowed_us {
            let call = spans[head].id;
            findings.push(PathFinding::OwnTime {
                call,
                own_us,
                allowed_us,
            });
        }
    }
    findings.extend(children_left_out(spans, &tree, &on_path));
    findings
}

/// Whether own time of the stage is accounted time.
fn is_leaf(stage: Option<StageId>) -> bool {
    !matches!(stage, Some(transport::CALL | transport::RPC | exec::PROCESS))
}

/// Each call with the spans of its stages: from its `call` downwards, or from `rpc` if that is outermost, down to the
/// first spans that are not Baton's.
fn calls(spans: &[PathSpan], tree: &SpanTree) -> HashMap<usize, Vec<usize>> {
    let kept = tree.kept();
    let mut calls: HashMap<usize, Vec<usize>> = HashMap::new();
    for &index in &kept {
        let mut at = index;
        let mut rpc = None;
        while let Some(stage) = spans[at].stage {
            match stage {
                transport::CALL => {
                    rpc = Some(at);
                    break;
                }
                transport::RPC => rpc = Some(at),
                _ => {}
            }
            match tree.parents[at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if let Some(head) = rpc {
            calls.entry(head).or_default().push(index);
        }
    }
    calls
}

/// The time between the two transits of a call whose `rpc` is not in this trace: the server exports nothing, or exports
/// to another trace.
fn server_time_us(spans: &[PathSpan], call: usize, members: &[usize]) -> u64 {
    let id = spans[call].id;
    let is_rpc = |span: &PathSpan| span.stage == Some(transport::RPC) && span.parent == Some(id);
    if spans[call].stage != Some(transport::CALL) || spans.iter().any(is_rpc) {
        return 0;
    }
    let of = |stage| {
        members
            .iter()
            .map(|&member| &spans[member])
            .find(|span| span.stage == Some(stage))
    };
    let back = of(transport::TERMINAL_TRANSIT).map_or(spans[call].end_us, |back| back.start_us);
    of(transport::TRANSIT).map_or(0, |out| back.saturating_sub(out.end_us))
}

/// The time of `head` that no covering stage covers.
fn uncovered_us(spans: &[PathSpan], head: usize, members: &[usize]) -> u64 {
    let (first, last) = (spans[head].start_us, spans[head].end_us);
    let covers = |span: &&PathSpan| span.stage.and_then(StageId::def).is_some_and(|def| def.covers);
    let mut covering: Vec<_> = members
        .iter()
        .map(|&member| &spans[member])
        .filter(covers)
        .collect();
    covering.sort_by_key(|span| span.start_us);
    let mut uncovered = 0;
    let mut reached = first;
    for span in covering {
        let gap = span.start_us.min(last).saturating_sub(reached);
        // Bounds are untrusted: a span may begin after its end, so the sum saturates.
        uncovered = u64::saturating_add(uncovered, gap);
        reached = reached.max(span.end_us);
    }
    uncovered.saturating_add(last.saturating_sub(reached))
}

/// The waits on the path whose process made spans, none of which is on the path.
fn children_left_out(spans: &[PathSpan], tree: &SpanTree, on_path: &HashSet<usize>) -> Vec<PathFinding> {
    let mut found = Vec::new();
    for &parent in on_path {
        if !matches!(spans[parent].stage, Some(exec::PROCESS | exec::PROCESS_WAIT)) {
            continue;
        }
        let is_childs = |child: &&usize| matches!(spans[**child].stage, None | Some(transport::CALL));
        let mut childs = tree.children[parent].iter().filter(is_childs).peekable();
        if childs.peek().is_some() && !childs.any(|child| on_path.contains(child)) {
            found.push(PathFinding::ChildLeftOut(spans[parent].id));
        }
    }
    found
}

#[cfg(test)]
mod tests;
