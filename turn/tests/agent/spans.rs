//! Spans of one run, and the relations between them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

/// In the order of their starts.
pub(crate) struct Spans(Vec<Span>);

impl Spans {
    pub(crate) fn new(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut spans: Vec<_> = spans.into_iter().collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        Self(spans)
    }

    /// Those of an OTLP/JSON file, which is one object.
    pub(crate) fn read(file: &Path) -> Self {
        let text = std::fs::read(file).expect("the trace file");
        let request: ExportTraceServiceRequest = serde_json::from_slice(&text).expect("OTLP/JSON");
        let groups = request.resource_spans.into_iter();
        let scopes = groups.flat_map(|group| group.scope_spans);
        Self::new(scopes.flat_map(|scope| scope.spans))
    }

    /// Those with this name or stage: a call is named after its command.
    pub(crate) fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| is_named(span, name)).collect()
    }

    pub(crate) fn ids(&self, name: &str) -> BTreeSet<&[u8]> {
        self.named(name)
            .iter()
            .map(|span| span.span_id.as_slice())
            .collect()
    }

    pub(crate) fn roots(&self) -> Vec<&Span> {
        let is_root = |span: &&Span| span.parent_span_id.is_empty();
        self.0.iter().filter(is_root).collect()
    }

    pub(crate) fn all_children(&self, parent: &Span) -> Vec<&Span> {
        let is_child = |span: &&Span| span.parent_span_id == parent.span_id;
        self.0.iter().filter(is_child).collect()
    }

    pub(crate) fn children(&self, parent: &Span, name: &str) -> Vec<&Span> {
        let mut children = self.all_children(parent);
        children.retain(|span| is_named(span, name));
        children
    }

    /// Every descendant, in the order of their starts.
    pub(crate) fn below(&self, top: &Span) -> Vec<&Span> {
        let mut ids = BTreeSet::from([top.span_id.as_slice()]);
        loop {
            let known = ids.len();
            let below = self
                .0
                .iter()
                .filter(|span| ids.contains(span.parent_span_id.as_slice()));
            let more: Vec<_> = below.map(|span| span.span_id.as_slice()).collect();
            ids.extend(more);
            if ids.len() == known {
                break;
            }
        }
        let is_below = |span: &&Span| ids.contains(span.parent_span_id.as_slice());
        self.0.iter().filter(is_below).collect()
    }

    /// Each span is there once, its parent is there, in the same trace, and contains it; each trace has one root.
    pub(crate) fn assert_is_a_forest(&self) {
        let by_id: HashMap<_, _> = self.0.iter().map(|span| (&span.span_id, span)).collect();
        assert_eq!(by_id.len(), self.0.len(), "a span is there twice");
        let mut roots = BTreeSet::new();
        for span in &self.0 {
            let name = &span.name;
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{name}");
            if span.parent_span_id.is_empty() {
                assert!(
                    roots.insert(&span.trace_id),
                    "{name} is a second root of its trace"
                );
                continue;
            }
            let Some(parent) = by_id.get(&span.parent_span_id) else {
                panic!("the parent of {name} is missing");
            };
            assert_eq!(span.trace_id, parent.trace_id, "{name}");
            let is_inside = parent.start_time_unix_nano <= span.start_time_unix_nano
                && span.end_time_unix_nano <= parent.end_time_unix_nano;
            assert!(
                is_inside,
                "{name} is outside of {}: {span:?} {parent:?}",
                parent.name
            );
        }
        let traces: BTreeSet<_> = self.0.iter().map(|span| &span.trace_id).collect();
        assert_eq!(roots, traces);
    }

    /// Jaeger counts in whole microseconds, and omits a span that touches the next one from its critical path. Output
    /// runs beside the awaited path. The parts of a request are drawn as the model's server reports them.
    pub(crate) fn assert_no_awaited_sibling_touches_the_next(&self) {
        const OUTPUT: [&str; 3] = ["process.first_output", "process.stdout", "process.stderr"];
        for parent in self.0.iter().filter(|parent| parent.name != "request") {
            let mut children = self.all_children(parent);
            children.retain(|span| !OUTPUT.contains(&span.name.as_str()));
            for (at, span) in children.iter().enumerate() {
                for later in &children[at + 1..] {
                    let (end, start) = (span.end_time_unix_nano, later.start_time_unix_nano);
                    let touches = end <= start && end / 1_000 >= start / 1_000;
                    assert!(!touches, "{} touches {}: {end} {start}", span.name, later.name);
                }
            }
        }
    }
}

pub(crate) fn is_named(span: &Span, name: &str) -> bool {
    span.name == name || text_of(span, "baton.stage") == Some(name)
}

pub(crate) fn length(span: &Span) -> i64 {
    i64::try_from(span.end_time_unix_nano - span.start_time_unix_nano).expect("a short span")
}

fn value<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.as_ref()?.value.as_ref()
}

pub(crate) fn text_of<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    match value(span, name)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

pub(crate) fn int_of(span: &Span, name: &str) -> Option<i64> {
    match value(span, name)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

pub(crate) fn bool_of(span: &Span, name: &str) -> Option<bool> {
    match value(span, name)? {
        Value::BoolValue(flag) => Some(*flag),
        _ => None,
    }
}

pub(crate) fn double_of(span: &Span, name: &str) -> Option<f64> {
    match value(span, name)? {
        Value::DoubleValue(number) => Some(*number),
        _ => None,
    }
}
