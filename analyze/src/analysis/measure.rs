//! The figures of one call.
//!
//! All are in nanoseconds, on the client's clock. The spans of an exec-server whose clock differs by more than the error
//! of its estimate are moved by the estimate. Nothing is rounded.
//!
//! | figure | is |
//! |---|---|
//! | envelope | the length of `call` |
//! | duration of a stage | the length of its spans, added |
//! | self time | its duration less the union of its child spans, also those that its process made |
//! | critical-path time | its own time on the critical path of the call; own time of a span that a process made counts for the stage that the process ran in |
//! | remainder | what the client told (`baton.remainder_ns`), else the envelope less the union of the covering stages |

use baton_trace::attribute;
use baton_trace::report::critical_path::{self, Contact, PathSpan};
use baton_trace::stage::{StageId, transport};

use crate::check::{Clock, is_exported, owner};
use crate::model::{CallSpans, Span, SpanKind, Trace, Tree};

/// The figures of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallFigures {
    /// Length of `call`; `None` without one.
    pub envelope_ns: Option<u64>,
    /// Time of the envelope that no covering stage accounts for. `None`: the client did not tell it, and stages of two
    /// clocks with an unknown offset cannot be placed beside each other, or there is no envelope.
    pub remainder_ns: Option<u64>,
    /// Whether the client told the remainder.
    pub is_remainder_told: bool,
    /// The stages that are present, by id.
    pub stages: Vec<StageFigures>,
}

/// The figures of a stage of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageFigures {
    /// Which stage.
    pub stage: StageId,
    /// Its duration.
    pub duration_ns: u64,
    /// Its duration without its children.
    pub self_ns: u64,
    /// Its own time on the critical path; `None` where the parts of the call cannot be placed beside each other.
    pub path_ns: Option<u64>,
    /// Time on the critical path of the stage and everything under it.
    pub path_below_ns: Option<u64>,
}

impl CallFigures {
    /// The figures of a stage.
    pub fn stage(&self, stage: StageId) -> Option<&StageFigures> {
        self.stages.iter().find(|figures| figures.stage == stage)
    }
}

/// Why a call has no figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// A stage ends before it starts.
    Backwards,
}

/// Half-open, in nanoseconds after the epoch of the client's clock.
type Bounds = (u64, u64);

/// Measures one call of a trace.
pub fn measure(trace: &Trace, tree: &Tree, call: &CallSpans) -> Result<CallFigures, Unusable> {
    let spans = trace.spans();
    if call
        .stages
        .iter()
        .any(|index| spans[*index].end_ns < spans[*index].start_ns)
    {
        return Err(Unusable::Backwards);
    }
    let members = Members::of(trace, tree, call);
    let mut figures = CallFigures::default();
    for member in members
        .all
        .iter()
        .filter(|member| member.index == member.stage_of)
    {
        let Some(stage) = spans[member.index]
            .stage
            .filter(|stage| *stage != transport::CALL)
        else {
            continue;
        };
        let duration_ns = member.bounds.1 - member.bounds.0;
        let self_ns = duration_ns - members.covered_by_children(tree, member);
        match figures.stages.iter_mut().find(|known| known.stage == stage) {
            Some(known) => {
                known.duration_ns += duration_ns;
                known.self_ns += self_ns;
            }
            None => figures.stages.push(StageFigures {
                stage,
                duration_ns,
                self_ns,
                path_ns: None,
                path_below_ns: None,
            }),
        }
    }
    figures.stages.sort_unstable_by_key(|figures| figures.stage);
    let Some(head) = call
        .head
        .filter(|head| spans[*head].stage == Some(transport::CALL))
    else {
        return Ok(figures);
    };
    let envelope = (spans[head].start_ns, spans[head].end_ns);
    figures.envelope_ns = Some(envelope.1 - envelope.0);
    let told = trace.integer(&spans[head], attribute::REMAINDER_NS);
    if let Some(told) = told.and_then(|ns| u64::try_from(ns).ok()) {
        figures.remainder_ns = Some(told);
        figures.is_remainder_told = true;
    } else if members.is_placed {
        figures.remainder_ns = Some(members.remainder(trace, envelope));
    }
    if members.is_placed {
        members.add_path(trace, tree, head, &mut figures);
    }
    Ok(figures)
}

/// A span of the call: a stage, or one that a process made under it.
struct Member {
    index: usize,
    /// The stage that it is or runs in.
    stage_of: usize,
    bounds: Bounds,
}

struct Members {
    all: Vec<Member>,
    /// Whether all bounds are on one clock.
    is_placed: bool,
}

impl Members {
    fn of(trace: &Trace, tree: &Tree, call: &CallSpans) -> Self {
        let spans = trace.spans();
        let head = call.head.map(|head| &spans[head]);
        let client = head.and_then(|head| owner(trace, head));
        // The clock of each resource is looked up once: a call has two or three.
        let mut shifts: Vec<(u32, Option<i64>)> = Vec::new();
        let clock = head.and_then(|head| Clock::of(trace, head));
        let host = head.and_then(|head| trace.resource_text(head, "host.id"));
        let is_exported = is_exported(trace, call);
        let mut shift_of = |span: &Span| {
            let resource = trace.resource_index(span);
            if let Some((_, shift)) = shifts.iter().find(|(known, _)| *known == resource) {
                return *shift;
            }
            let is_clients = !is_exported || owner(trace, span) == client;
            let is_one_host = host.is_some() && trace.resource_text(span, "host.id") == host;
            let shift = match (is_clients, clock) {
                (true, _) => Some(0),
                (false, Some(clock)) => Some(clock.shift_ns()),
                (false, None) => is_one_host.then_some(0),
            };
            shifts.push((resource, shift));
            shift
        };
        let mut is_placed = true;
        let mut all = Vec::with_capacity(spans.len());
        let mut stage_of = vec![None; spans.len()];
        for &index in &call.stages {
            stage_of[index] = Some(index);
        }
        let mut add = |index: usize, stage_of: usize| {
            let span = &spans[index];
            // What a process made is on the clock of its exec-server.
            let shift = shift_of(&spans[stage_of]);
            is_placed &= shift.is_some();
            let at = |ns: u64| ns.saturating_add_signed(shift.unwrap_or(0).saturating_neg());
            let bounds = (at(span.start_ns), at(span.end_ns.max(span.start_ns)));
            all.push(Member {
                index,
                stage_of,
                bounds,
            });
        };
        call.stages.iter().for_each(|index| add(*index, *index));
        // Without other spans there is nothing below the stages.
        if call.stages.len() < spans.len() {
            for index in 0..spans.len() {
                if let Some(stage) = find_stage(tree, &mut stage_of, index, spans.len())
                    && stage != index
                {
                    add(index, stage);
                }
            }
        }
        Self { all, is_placed }
    }

    /// Nanoseconds of a stage's interval inside its children.
    fn covered_by_children(&self, tree: &Tree, member: &Member) -> u64 {
        let children = self
            .all
            .iter()
            .filter(|child| tree.parent(child.index) == Some(member.index) && child.index != member.index);
        union(children.map(|child| child.bounds), member.bounds)
    }

    fn remainder(&self, trace: &Trace, envelope: Bounds) -> u64 {
        let covers = |member: &&Member| {
            let stage = trace.spans()[member.index].stage;
            stage.and_then(StageId::def).is_some_and(|row| row.covers)
        };
        let covering = self.all.iter().filter(covers);
        envelope.1 - envelope.0 - union(covering.map(|member| member.bounds), envelope)
    }

    fn add_path(&self, trace: &Trace, tree: &Tree, head: usize, figures: &mut CallFigures) {
        let spans = trace.spans();
        let path_span = |member: &Member| {
            let span = &spans[member.index];
            PathSpan {
                id: span.id,
                parent: (member.index != head).then_some(span.parent).flatten(),
                kind: match span.kind {
                    SpanKind::Producer => critical_path::SpanKind::Producer,
                    SpanKind::Consumer => critical_path::SpanKind::Consumer,
                    _ => critical_path::SpanKind::Internal,
                },
                start_us: member.bounds.0,
                end_us: member.bounds.1,
                stage: None,
                remainder_ns: None,
            }
        };
        let path_spans: Vec<_> = self.all.iter().map(path_span).collect();
        for stage in &mut figures.stages {
            (stage.path_ns, stage.path_below_ns) = (Some(0), Some(0));
        }
        let head_id = spans[head].id;
        for section in critical_path::path(&path_spans, Contact::Followed) {
            let member = &self.all[section.span];
            // A stage whose parent is missing is a root of its own, on no awaited path that is known.
            if !is_below(tree, member.index, head, spans.len()) || path_spans[section.span].id == head_id {
                continue;
            }
            let length = section.duration_us();
            let mut at = Some(member.stage_of);
            let mut is_own = true;
            let mut last = None;
            while let Some(index) = at.filter(|index| *index != head) {
                let stage = spans[index].stage;
                let known = figures.stages.iter_mut().find(|known| Some(known.stage) == stage);
                if let (Some(known), true) = (known, last != stage) {
                    let add = |sum: &mut Option<u64>| *sum = sum.map(|sum| sum + length);
                    add(&mut known.path_below_ns);
                    if is_own {
                        add(&mut known.path_ns);
                    }
                }
                is_own = false;
                last = stage;
                at = tree.parent(index);
            }
        }
    }
}

/// The nearest stage of the call at or above a span.
fn find_stage(tree: &Tree, stage_of: &mut [Option<usize>], index: usize, len: usize) -> Option<usize> {
    let mut at = index;
    // A file may hold a cycle.
    for _ in 0..=len {
        if let Some(stage) = stage_of[at] {
            stage_of[index] = Some(stage);
            return Some(stage);
        }
        at = tree.parent(at)?;
    }
    None
}

fn is_below(tree: &Tree, index: usize, head: usize, len: usize) -> bool {
    let mut at = index;
    for _ in 0..=len {
        if at == head {
            return true;
        }
        match tree.parent(at) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
    false
}

/// Nanoseconds of `bounds` inside at least one of the intervals.
fn union(intervals: impl Iterator<Item = Bounds>, bounds: Bounds) -> u64 {
    let mut clipped: Vec<Bounds> = intervals
        .map(|(start, end)| (start.clamp(bounds.0, bounds.1), end.clamp(bounds.0, bounds.1)))
        .filter(|(start, end)| start < end)
        .collect();
    clipped.sort_unstable();
    let mut covered = 0;
    let mut reached = bounds.0;
    for (start, end) in clipped {
        let fresh = start.max(reached);
        if end > fresh {
            covered += end - fresh;
            reached = end;
        }
    }
    covered
}

#[cfg(test)]
mod tests;
