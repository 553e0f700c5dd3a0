//! What a call is, beside its times: the values by which calls are selected and grouped.

use std::borrow::Cow;

use baton_trace::attribute;
use baton_trace::stage::{exec, transport};

use crate::model::{CallSpans, Span, Trace, Tree, Value};

/// How calls are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// Not at all: one table of stages.
    #[default]
    Stage,
    /// By the number of the turn of the caller's loop.
    Turn,
    /// By the host of the exec-server.
    Host,
    /// By the label: the name of the `call` span.
    Label,
    /// By the lowest version among the components.
    Version,
    /// By `error.type`.
    Fault,
}

/// Whether a call had to open its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// It has a `connect` stage.
    Cold,
    /// It has none.
    Warm,
}

pub(super) struct Facts<'a> {
    pub trace: &'a Trace,
    /// The `call`, else the `rpc`.
    pub head: Span,
    pub process: Option<Span>,
    pub rpc: Option<Span>,
    pub start_ns: u64,
    pub turn: Option<i64>,
    pub session: Session,
    pub version: &'a str,
}

impl<'a> Facts<'a> {
    pub(super) fn of(trace: &'a Trace, call: &CallSpans, head: usize) -> Self {
        let spans = trace.spans();
        let stages = || call.stages.iter().map(|index| &spans[*index]);
        let first = |stage| stages().find(|span| span.stage == Some(stage)).copied();
        let head = spans[head];
        let process = first(exec::PROCESS);
        let is_connect = |span: &Span| {
            matches!(
                span.stage,
                Some(transport::CONNECT_DIAL | transport::CONNECT_PAIR | transport::CONNECT_HANDSHAKE)
            )
        };
        let mut facts = Self {
            trace,
            head,
            process,
            rpc: first(transport::RPC),
            start_ns: head.start_ns,
            turn: None,
            session: if stages().any(is_connect) {
                Session::Cold
            } else {
                Session::Warm
            },
            version: lowest_version(trace, call),
        };
        facts.turn = facts.integer(attribute::TURN);
        facts
    }

    /// The spans that carry what a person searches for.
    fn spans(&self) -> impl Iterator<Item = &Span> {
        [Some(&self.head), self.process.as_ref(), self.rpc.as_ref()]
            .into_iter()
            .flatten()
    }

    /// An attribute of the call, the process or the rpc.
    fn attribute(&self, key: &str) -> Option<Value<'a>> {
        self.spans().find_map(|span| self.trace.attribute(span, key))
    }

    pub(super) fn integer(&self, key: &str) -> Option<i64> {
        match self.attribute(key)? {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match self.attribute(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A fact by its name in filters: a name of [`By`], or an attribute of the call, the process, the rpc or their
    /// resources.
    pub(super) fn named(&self, name: &str) -> Option<Cow<'a, str>> {
        let by = match name {
            "turn" => By::Turn,
            "host" => By::Host,
            "label" => By::Label,
            "version" => By::Version,
            "fault" => By::Fault,
            _ => {
                let of_resource = || self.spans().find_map(|span| self.trace.resource_text(span, name));
                return match self.attribute(name) {
                    Some(value) => Some(plain(value)),
                    None => of_resource().map(Cow::Borrowed),
                };
            }
        };
        Some(self.group(by))
    }

    /// The name of the group that the call is in.
    pub(super) fn group(&self, by: By) -> Cow<'a, str> {
        match by {
            By::Stage => "".into(),
            By::Turn => self.turn.map_or("none".into(), |turn| turn.to_string().into()),
            By::Host => self.host().into(),
            By::Label => self.trace.name(&self.head).into(),
            By::Version => self.version.into(),
            By::Fault => self.text("error.type").unwrap_or("none").into(),
        }
    }

    /// The host of the exec-server, if it told.
    fn host(&self) -> &'a str {
        let servers = [self.process.as_ref(), self.rpc.as_ref()];
        let of = |key: &str| {
            servers
                .iter()
                .flatten()
                .find_map(|span| self.trace.resource_text(span, key))
        };
        of("host.name").or_else(|| of("host.id")).unwrap_or("unknown")
    }

    /// Whether the caller gave the call up.
    pub(super) fn is_cancelled(&self) -> bool {
        self.text("rpc.response.status_code") == Some("CANCELLED")
            || self.text(attribute::CALL_END) == Some("reset")
    }
}

fn plain(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Text(text) | Value::Other(text) => text.into(),
        Value::Int(number) => number.to_string().into(),
        Value::Bool(flag) => flag.to_string().into(),
        Value::Double(number) => number.to_string().into(),
    }
}

/// The lowest version of the components that report themselves.
fn lowest_version<'a>(trace: &'a Trace, call: &CallSpans) -> &'a str {
    let mut seen: [Option<u32>; 4] = [None; 4];
    let mut lowest: Option<&str> = None;
    for index in &call.stages {
        let span = &trace.spans()[*index];
        let resource = trace.resource_index(span);
        // A call has three resources; each is asked once.
        if seen.contains(&Some(resource)) {
            continue;
        }
        if let Some(free) = seen.iter_mut().find(|known| known.is_none()) {
            *free = Some(resource);
        }
        let Some(version) = trace.resource_text(span, "service.version") else {
            continue;
        };
        let is_lower = |known: &str| {
            super::population::Version::parse(version) < super::population::Version::parse(known)
        };
        if lowest.is_none_or(is_lower) {
            lowest = Some(version);
        }
    }
    lowest.unwrap_or("unknown")
}

/// Whether spans of a trace are missing: the parts of a call announce more stages than there are, or a stage has no parent in a
/// trace that has its root.
pub(super) fn is_truncated(trace: &Trace, tree: &Tree, calls: &[CallSpans]) -> bool {
    let spans = trace.spans();
    let lacks_stages = |call: &CallSpans| {
        let announced = call.announced(trace);
        announced.is_some_and(|announced| announced > call.stages.len() as i64)
    };
    if calls.iter().any(lacks_stages) {
        return true;
    }
    let has_root = spans.iter().any(|span| span.parent.is_none());
    let is_orphan = |index: &usize| {
        let span = &spans[*index];
        span.parent.is_some() && tree.parent(*index).is_none() && span.stage != Some(transport::CALL)
    };
    has_root && calls.iter().flat_map(|call| &call.stages).any(is_orphan)
}

/// How many traces a sampled one stands for, by the threshold in its tracestate (OpenTelemetry, "TraceState:
/// Probability Sampling", `ot=th:…`); 1 without one.
pub(super) fn sampling_weight(trace_state: &str) -> u32 {
    let weight = || {
        let member = trace_state
            .split(',')
            .find_map(|member| member.trim().strip_prefix("ot="))?;
        let threshold = member.split(';').find_map(|field| field.strip_prefix("th:"))?;
        if threshold.is_empty() || threshold.len() > 14 {
            return None;
        }
        let rejected = u64::from_str_radix(threshold, 16).ok()? << (4 * (14 - threshold.len()));
        let all = (1u64 << 56) as f64;
        Some((all / (all - rejected as f64)).round())
    };
    weight().map_or(1, |weight| {
        (weight as u32).clamp(1, crate::limits::SAMPLING_WEIGHT_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_gives_the_weight() {
        for (trace_state, weight) in [
            ("", 1),
            ("v=1", 1),
            ("ot=th:0", 1),
            // Half, a quarter and a hundredth.
            ("ot=th:8", 2),
            ("v=1, ot=rv:123;th:c", 4),
            ("ot=th:fd70a3d70a3d71", 100),
            ("ot=th:ffffffffffffff", 10_000),
            ("ot=th:", 1),
            ("ot=th:xyz", 1),
            ("ot=th:000000000000000", 1),
        ] {
            assert_eq!(sampling_weight(trace_state), weight, "{trace_state}");
        }
    }
}
