//! What a call is, beside its times: the values by which calls are selected and grouped.

use std::borrow::Cow;

use baton_trace::stage::{exec, transport};
use baton_trace::{TraceId, attribute};
use siphasher::sip::SipHasher13;

use crate::limits::SAMPLING_WEIGHT_MAX;
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

pub(crate) struct Facts<'a> {
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
    pub(crate) fn of(trace: &'a Trace, call: &CallSpans, head: usize) -> Self {
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
    pub(crate) fn is_cancelled(&self) -> bool {
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

impl Facts<'_> {
    /// How many calls this one stands for: the inverse of its sampling probability, 1 if nothing says that it was
    /// sampled.
    ///
    /// | sign | of |
    /// |---|---|
    /// | `ot=th:…` in tracestate | OpenTelemetry, "TraceState: Probability Sampling" |
    /// | `ot=p:…` in tracestate | its predecessor: the probability is 2^-p |
    /// | `sampler.type` with `sampler.param` | Jaeger's samplers; only `probabilistic` has a probability |
    pub(super) fn sampling_weight(&self) -> f64 {
        let weight = trace_state_weight(self.trace.trace_state(&self.head)).or_else(|| self.jaeger_weight());
        weight.map_or(1.0, |weight| weight.clamp(1.0, SAMPLING_WEIGHT_MAX))
    }

    fn jaeger_weight(&self) -> Option<f64> {
        (self.text("sampler.type")? == "probabilistic").then_some(())?;
        match self.attribute("sampler.param")? {
            Value::Double(probability) if probability > 0.0 => Some(1.0 / probability),
            Value::Text(text) => Some(
                1.0 / text
                    .parse::<f64>()
                    .ok()
                    .filter(|probability| *probability > 0.0)?,
            ),
            _ => None,
        }
    }
}

fn trace_state_weight(trace_state: &str) -> Option<f64> {
    let member = trace_state
        .split(',')
        .find_map(|member| member.trim().strip_prefix("ot="))?;
    let field = |name: &str| {
        member
            .split(';')
            .find_map(|field| field.strip_prefix(name)?.strip_prefix(':'))
    };
    if let Some(exponent) = field("p") {
        // 63 is a probability of 0, of a trace that was recorded for another reason.
        let exponent = exponent
            .parse::<i32>()
            .ok()
            .filter(|exponent| (0..63).contains(exponent))?;
        return Some(2_f64.powi(exponent));
    }
    let threshold = field("th")?;
    if threshold.is_empty() || threshold.len() > 14 {
        return None;
    }
    let rejected = u64::from_str_radix(threshold, 16).ok()? << (4 * (14 - threshold.len()));
    let all = (1u64 << 56) as f64;
    Some(all / (all - rejected as f64))
}

/// How often a call with this weight counts. A fraction becomes one more for that fraction of the calls, by a hash of
/// the trace id, so that sums are right on average and do not depend on the order of the input.
pub(super) fn copies(weight: f64, trace: TraceId) -> u32 {
    let whole = weight.floor();
    // The sampler has decided by the id itself, so its bits are not random among sampled traces.
    let part = SipHasher13::new().hash(&trace.to_bytes()) as f64 / u64::MAX as f64;
    whole as u32 + u32::from(part < weight - whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_gives_the_weight() {
        for (trace_state, weight) in [
            ("", None),
            ("v=1", None),
            ("ot=th:0", Some(1.0)),
            // Half, a quarter, two thirds and a hundredth.
            ("ot=th:8", Some(2.0)),
            ("v=1, ot=rv:123;th:c", Some(4.0)),
            ("ot=th:55555555555555", Some(1.5)),
            ("ot=th:fd70a3d70a3d71", Some(100.0)),
            ("ot=p:3", Some(8.0)),
            ("ot=p:63", None),
            ("ot=th:", None),
            ("ot=th:xyz", None),
            ("ot=th:000000000000000", None),
        ] {
            let found = trace_state_weight(trace_state);
            let is_near = match (found, weight) {
                (Some(found), Some(weight)) => (found - weight).abs() < 1e-6,
                (found, weight) => found == weight,
            };
            assert!(is_near, "{trace_state}: {found:?}");
        }
    }

    #[test]
    fn a_fraction_of_a_weight_is_kept_over_many_calls() {
        let ids = || (1..=10_000_u128).map(TraceId::from);
        let sum: u32 = ids().map(|id| copies(1.5, id)).sum();
        assert!((14_700..15_300).contains(&sum), "{sum}");
        assert!(ids().all(|id| copies(2.0, id) == 2));
        let of = |id: u128| copies(1.5, TraceId::from(id));
        assert_eq!(of(7), of(7));
    }
}
