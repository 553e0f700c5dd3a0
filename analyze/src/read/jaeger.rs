//! Jaeger's JSON: what its UI downloads, and what `/api/traces` answers.
//!
//! Times are whole microseconds. The kind and the status of a span are tags. The processes of a trace, which are its
//! resources, follow its spans, so one trace is read whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use baton_trace::{SpanId, TraceId};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::assembler::{Assembler, FoundSpan};
use super::json::{KindText, Number, SpanIdText, TraceIdText};
use crate::model::{Link, NewSpan, SpanKind, Value};

#[derive(Debug, serde::Deserialize)]
struct JaegerTrace<'a> {
    #[serde(borrow, default)]
    spans: Vec<JaegerSpan<'a>>,
    #[serde(borrow, default)]
    processes: HashMap<Cow<'a, str>, Process<'a>>,
}

#[derive(Debug, serde::Deserialize)]
struct JaegerSpan<'a> {
    #[serde(rename = "traceID", default)]
    trace: TraceIdText,
    #[serde(rename = "spanID", default)]
    id: SpanIdText,
    /// Older versions have this beside `references`.
    #[serde(rename = "parentSpanID", default)]
    parent: SpanIdText,
    #[serde(default)]
    flags: Option<Number<u32>>,
    #[serde(rename = "operationName", borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    references: Option<Vec<Reference<'a>>>,
    #[serde(rename = "startTime", default)]
    start_us: Number<u64>,
    #[serde(rename = "duration", default)]
    duration_us: Number<u64>,
    #[serde(borrow, default)]
    tags: Option<Vec<Tag<'a>>>,
    #[serde(rename = "processID", borrow, default)]
    process: Cow<'a, str>,
}

#[derive(Debug, serde::Deserialize)]
struct Reference<'a> {
    #[serde(rename = "refType", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(rename = "traceID", default)]
    trace: TraceIdText,
    #[serde(rename = "spanID", default)]
    span: SpanIdText,
}

#[derive(Debug, Default, serde::Deserialize)]
struct Process<'a> {
    #[serde(rename = "serviceName", borrow, default)]
    service: Cow<'a, str>,
    #[serde(borrow, default)]
    tags: Option<Vec<Tag<'a>>>,
}

#[derive(Debug, serde::Deserialize)]
struct Tag<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    value: TagValue<'a>,
}

impl Tag<'_> {
    fn pair(&self) -> (&str, Value<'_>) {
        (&self.key, self.value.value())
    }
}

#[derive(Debug, Default)]
enum TagValue<'a> {
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Int(i64),
    Bool(bool),
    Double(f64),
}

impl TagValue<'_> {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Empty => Value::Other(""),
            Self::Text(text) => Value::Text(text),
            Self::Int(number) => Value::Int(*number),
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Double(number) => Value::Double(*number),
        }
    }
}

struct TagVisitor;

impl<'de> Visitor<'de> for TagVisitor {
    type Value = TagValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a tag")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(TagValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TagValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(TagValue::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(TagValue::Double(number as f64), TagValue::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(TagValue::Double(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(TagValue::Bool(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(TagValue::Empty)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for TagValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TagVisitor)
    }
}

/// `data`: an array of traces.
pub(super) struct JaegerTraces<'s, 'o>(pub &'s mut Assembler<'o>);

impl<'de> DeserializeSeed<'de> for JaegerTraces<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JaegerTraces<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of Jaeger's traces")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut traces: A) -> Result<(), A::Error> {
        self.0.saw_traces();
        while let Some(trace) = traces.next_element::<JaegerTrace<'de>>()? {
            add(self.0, &trace);
        }
        Ok(())
    }

    /// An object that is not of Jaeger: `data` is a common name.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    /// `null`: no trace was found.
    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.saw_traces();
        Ok(())
    }
}

fn add(out: &mut Assembler<'_>, trace: &JaegerTrace<'_>) {
    let none = Process::default();
    let mut spans: Vec<_> = trace.spans.iter().collect();
    spans.sort_by(|a, b| a.process.cmp(&b.process));
    for group in spans.chunk_by(|a, b| a.process == b.process) {
        let process = trace.processes.get(&group[0].process).unwrap_or(&none);
        let service = Some(("service.name", Value::Text(&process.service)));
        let service = service.filter(|_| !process.service.is_empty());
        let tags = process.tags.iter().flatten().map(Tag::pair);
        out.begin_resource();
        out.set_resource(service.into_iter().chain(tags));
        group.iter().for_each(|span| add_span(out, span));
        out.end_resource();
    }
}

fn add_span(out: &mut Assembler<'_>, span: &JaegerSpan<'_>) {
    let references = span.references.iter().flatten();
    let is_parent =
        |reference: &&Reference<'_>| reference.kind == "CHILD_OF" && reference.trace.0 == span.trace.0;
    let parent = references.clone().find(is_parent);
    let parent = parent.map_or(span.parent, |reference| reference.span).0;
    let links = references
        .filter(|reference| reference.span.0 != parent)
        .map(|reference| Link {
            trace: TraceId::from(reference.trace.0),
            span: SpanId::from(reference.span.0),
            flags: 0,
            trace_state: "",
        });
    let tags = || span.tags.iter().flatten();
    let find = |key: &str| tags().find(|tag| tag.key == key).map(|tag| &tag.value);
    let text = |key| match find(key) {
        Some(TagValue::Text(text)) => Some(text.as_ref()),
        _ => None,
    };
    let is_error = matches!(find("error"), Some(TagValue::Bool(true)))
        || matches!(text("error"), Some("true"))
        || matches!(text("otel.status_code"), Some("ERROR"));
    let start_ns = span.start_us.0.saturating_mul(1_000);
    let found = FoundSpan {
        trace: span.trace.0,
        span: NewSpan {
            id: span.id.0,
            parent,
            start_ns,
            end_ns: start_ns.saturating_add(span.duration_us.0.saturating_mul(1_000)),
            flags: span.flags.map_or(0, |flags| flags.0),
            kind: text("span.kind").map_or(SpanKind::Internal, |kind| KindText::named(kind).0),
            is_error,
            name: &span.name,
            trace_state: text("w3c.tracestate").unwrap_or_default(),
        },
    };
    // They became fields of the span.
    let is_field = |key: &str| matches!(key, "span.kind" | "w3c.tracestate");
    let attributes = tags().map(Tag::pair).filter(|(key, _)| !is_field(key));
    out.add(&found, attributes, links);
}
