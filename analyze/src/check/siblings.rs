//! Exported stages under one parent: at least 1 µs long, and 1 µs apart, because Jaeger's critical path leaves out what
//! touches or overlaps the next sibling.

use baton_trace::stage::{StageId, exec};

use super::{Finding, Unit, owner};
use crate::model::{CallSpans, Span, Trace, Tree};

pub(super) fn check(trace: &Trace, tree: &Tree, call: &CallSpans) -> Vec<Finding> {
    let spans = trace.spans();
    let mut findings = Vec::new();
    for &index in &call.stages {
        if spans[index].end_ns == spans[index].start_ns {
            findings.push(Finding::ZeroLength {
                span: Unit::of(trace, &spans[index]),
            });
        }
    }
    let mut awaited: Vec<_> = call
        .stages
        .iter()
        .copied()
        .filter(|index| spans[*index].stage.is_some_and(is_awaited))
        .collect();
    // The clocks of two machines say nothing about a gap between their stages.
    let family = |index: usize| (tree.parent(index), owner(trace, &spans[index]));
    awaited.sort_by_key(|index| (family(*index), spans[*index].start_ns, spans[*index].end_ns));
    for siblings in awaited.chunk_by(|a, b| family(*a) == family(*b)) {
        let Some((&first, rest)) = siblings.split_first() else {
            continue;
        };
        let mut last: &Span = &spans[first];
        for &index in rest {
            let next = &spans[index];
            let units = || (Unit::of(trace, last), Unit::of(trace, next));
            if last.end_ns == next.start_ns && last.end_ns > last.start_ns {
                let (first, second) = units();
                findings.push(Finding::Touching { first, second });
            } else if last.end_ns > next.start_ns {
                let (first, second) = units();
                findings.push(Finding::Overlapping { first, second });
            }
            if next.end_ns > last.end_ns {
                last = next;
            }
        }
    }
    findings
}

/// Whether a stage stands in the row of its awaited siblings. A handler's own stages may overlap others, unless they
/// claim to cover.
fn is_awaited(stage: StageId) -> bool {
    let covers = stage.def().is_some_and(|row| row.covers);
    !exec::CONCURRENT.contains(&stage) && stage.def().is_some() && (covers || !stage.is_user_defined())
}
