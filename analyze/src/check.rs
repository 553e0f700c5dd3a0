//! Checks traces: whether every span is there, in its place, apart from its siblings, and says no more than it may.
//!
//! One checker for tests, for `baton trace check` and for whoever exports spans. It expects what `docs/STAGES.md`
//! describes. Spans of other tools are only checked for parents.

mod finding;
mod privacy;
mod siblings;

use std::collections::HashSet;
use std::time::Duration;

use baton_trace::attribute;
use baton_trace::report::critical_path::{self, PathSpan};
use baton_trace::stage::{StageId, exec, transport};

pub use self::finding::{Finding, Unit};
use crate::limits::CLOCK_SLACK;
use crate::model::{CallSpans, Span, SpanKind, Trace, Tree, Value};

/// What to expect of a trace.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The trace is of calls that still run: parents, counts and the critical path are not checked.
    pub is_partial: bool,
    /// How far a child of another machine may stand outside of its parent, beyond the error of the clock offset.
    pub clock_slack: Duration,
    /// Texts that no attribute and no name may contain, such as arguments of the commands that ran.
    pub secrets: Vec<String>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            is_partial: false,
            clock_slack: CLOCK_SLACK,
            secrets: Vec::new(),
        }
    }
}

/// Checks one trace.
pub fn check(trace: &Trace, options: &CheckOptions) -> Vec<Finding> {
    let tree = Tree::of(trace);
    let calls = tree.calls(trace);
    let mut findings = Vec::new();
    let mut ids = HashSet::new();
    let shared = trace.spans().iter().filter(|span| !ids.insert(span.id));
    findings.extend(shared.map(|span| Finding::SharedId { span: span.id }));
    for span in trace.spans() {
        if span.end_ns < span.start_ns {
            findings.push(Finding::Backwards {
                span: Unit::of(trace, span),
                by_ns: span.start_ns - span.end_ns,
            });
        }
    }
    if !options.is_partial {
        findings.extend(orphans(trace, &tree));
        findings.extend(calls.iter().filter_map(|call| count(trace, call)));
    }
    for call in &calls {
        findings.extend(outside_parent(trace, &tree, call, options));
        if is_exported(trace, call) {
            findings.extend(siblings::check(trace, &tree, call));
        }
    }
    // A record in a file has unrounded times. Jaeger's critical path skips stages that touch.
    let is_exported = calls.iter().all(|call| is_exported(trace, call));
    if !options.is_partial && is_exported {
        let spans: Vec<_> = trace.spans().iter().map(|span| path_span(trace, span)).collect();
        let path = critical_path::check(&spans).into_iter();
        let is_new = |found: &critical_path::PathFinding| {
            // Told above, for every trace.
            !matches!(found, critical_path::PathFinding::SharedId(_))
        };
        findings.extend(path.filter(is_new).map(Finding::CriticalPath));
    }
    findings.extend(privacy::check(trace, &options.secrets));
    findings
}

/// Parents that are missing. The caller of an outermost `call` may export elsewhere: it is only missing if the trace
/// has a root.
fn orphans(trace: &Trace, tree: &Tree) -> Vec<Finding> {
    let spans = trace.spans();
    let has_root = spans.iter().any(|span| span.parent.is_none());
    let mut findings = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let Some(parent) = span.parent.filter(|_| tree.parent(index).is_none()) else {
            continue;
        };
        let is_outermost = span.stage.is_none_or(|stage| stage == transport::CALL);
        if has_root || !is_outermost {
            findings.push(Finding::Orphan {
                span: Unit::of(trace, span),
                parent,
            });
        }
    }
    findings
}

/// Whether the number of stages is the one that the parts of the call announce.
fn count(trace: &Trace, call: &CallSpans) -> Option<Finding> {
    let head = &trace.spans()[call.head?];
    let announced = call.announced(trace)?;
    let found = call.stages.len() as u64;
    (u64::try_from(announced) != Ok(found)).then_some(Finding::Count {
        call: head.id,
        announced,
        found,
    })
}

/// Stages outside of their parents, by more than the clocks explain.
fn outside_parent(trace: &Trace, tree: &Tree, call: &CallSpans, options: &CheckOptions) -> Vec<Finding> {
    let spans = trace.spans();
    let clock = call.head.and_then(|head| Clock::of(trace, &spans[head]));
    let slack_ns = u64::try_from(options.clock_slack.as_nanos()).unwrap_or(u64::MAX);
    let mut findings = Vec::new();
    for &index in &call.stages {
        let child = &spans[index];
        let Some(parent) = tree.parent(index).map(|parent| &spans[parent]) else {
            continue;
        };
        // A call may outlive the span that made it.
        if child.stage == Some(transport::CALL) || parent.stage.is_none() {
            continue;
        }
        let (shift_ns, bound_ns) = match (owner(trace, child) == owner(trace, parent), clock) {
            (true, _) => (0, 0),
            (false, Some(clock)) => (clock.shift_ns(), clock.error_ns.saturating_add(slack_ns)),
            (false, None) if is_one_host(trace, child, parent) => (0, slack_ns),
            (false, None) => continue,
        };
        let at = |ns: u64| i128::from(ns) - i128::from(shift_ns);
        let before = i128::from(parent.start_ns) - at(child.start_ns);
        let after = at(child.end_ns) - i128::from(parent.end_ns);
        let by_ns = u64::try_from(before.max(after).max(0)).unwrap_or(u64::MAX);
        if by_ns > bound_ns {
            findings.push(Finding::OutsideParent {
                span: Unit::of(trace, child),
                parent: Unit::of(trace, parent),
                by_ns,
                bound_ns,
            });
        }
    }
    findings
}

/// The offset of a call's server clock, as its client told it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The server's clock minus the client's.
    pub offset_ns: i64,
    pub error_ns: u64,
}

impl Clock {
    pub(crate) fn of(trace: &Trace, call: &Span) -> Option<Self> {
        Some(Self {
            offset_ns: trace.integer(call, attribute::CLOCK_OFFSET_NS)?,
            error_ns: u64::try_from(trace.integer(call, attribute::CLOCK_ERROR_NS)?).ok()?,
        })
    }

    /// What to subtract from the server's times: nothing where both may share one clock.
    pub(crate) fn shift_ns(&self) -> i64 {
        match self.offset_ns.unsigned_abs() <= self.error_ns {
            true => 0,
            false => self.offset_ns,
        }
    }
}

/// The instance whose clock stamped a span: the reporter of a reported one.
pub(crate) fn owner<'a>(trace: &'a Trace, span: &Span) -> Option<&'a str> {
    let mut instance = None;
    for (key, value) in trace.resource(span) {
        match (key, value) {
            (attribute::REPORTED_BY, Value::Text(reporter)) => return Some(reporter),
            ("service.instance.id", Value::Text(own)) => instance = Some(own),
            _ => {}
        }
    }
    instance
}

fn is_one_host(trace: &Trace, a: &Span, b: &Span) -> bool {
    let host = |span| trace.resource_text(span, "host.id");
    host(a).is_some() && host(a) == host(b)
}

/// Whether the spans of a call went through an exporter, which rounds to whole microseconds. Those of a trace file are
/// as measured, with the server's among them reported by the client.
pub(crate) fn is_exported(trace: &Trace, call: &CallSpans) -> bool {
    let stages = || call.stages.iter().map(|index| &trace.spans()[*index]);
    let is_whole = |span: &Span| span.start_ns.is_multiple_of(1_000) && span.end_ns.is_multiple_of(1_000);
    let is_servers = |span: &Span| span.stage == Some(transport::RPC) || span.stage == Some(exec::PROCESS);
    let is_reported = |span: &Span| trace.resource_text(span, attribute::REPORTED_BY).is_some();
    !stages().any(|span| is_servers(span) && is_reported(span)) && stages().all(is_whole)
}

fn path_span(trace: &Trace, span: &Span) -> PathSpan {
    PathSpan {
        id: span.id,
        parent: span.parent,
        kind: match span.kind {
            SpanKind::Internal => critical_path::SpanKind::Internal,
            SpanKind::Server => critical_path::SpanKind::Server,
            SpanKind::Client => critical_path::SpanKind::Client,
            SpanKind::Producer => critical_path::SpanKind::Producer,
            SpanKind::Consumer => critical_path::SpanKind::Consumer,
        },
        start_us: span.start_ns / 1_000,
        end_us: span.end_ns / 1_000,
        stage: span.stage.filter(|stage: &StageId| stage.def().is_some()),
        remainder_ns: trace
            .integer(span, attribute::REMAINDER_NS)
            .and_then(|ns| u64::try_from(ns).ok()),
    }
}

#[cfg(test)]
mod tests;
