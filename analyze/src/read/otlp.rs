//! OTLP/JSON (OTLP specification, "JSON Protobuf Encoding"): requests, `TracesData`, single `ResourceSpans`, and
//! answers of Jaeger's `/api/v3`, which are the same in `result`. A Jaeger download is recognised by its `data`.
//!
//! Spans go to the `Assembler` one at a time, so that a document may be larger than memory.

use std::borrow::Cow;
use std::fmt;

use baton_trace::{SpanId, TraceId};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::assembler::{Assembler, FoundSpan};
use super::jaeger::JaegerTraces;
use super::json::{AnyValue, ErrorCode, KindText, Number, SpanIdText, TraceIdText};
use crate::model::{Link, NewSpan, Value};

/// An attribute.
#[derive(Debug, serde::Deserialize)]
pub struct KeyValue<'a> {
    /// Its key.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Its value.
    #[serde(borrow, default)]
    pub value: AnyValue<'a>,
}

impl KeyValue<'_> {
    /// As a trace stores it.
    pub(super) fn pair(&self) -> (&str, Value<'_>) {
        (&self.key, self.value.value())
    }
}

/// The fields of a span that are read.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpanText<'a> {
    #[serde(default, alias = "trace_id")]
    trace_id: TraceIdText,
    #[serde(default, alias = "span_id")]
    span_id: SpanIdText,
    #[serde(default, alias = "parent_span_id")]
    parent_span_id: SpanIdText,
    #[serde(borrow, default, alias = "trace_state")]
    trace_state: Cow<'a, str>,
    #[serde(default)]
    flags: Number<u32>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(default)]
    kind: KindText,
    #[serde(default, alias = "start_time_unix_nano")]
    start_time_unix_nano: Number<u64>,
    #[serde(default, alias = "end_time_unix_nano")]
    end_time_unix_nano: Number<u64>,
    #[serde(borrow, default)]
    attributes: Vec<KeyValue<'a>>,
    #[serde(borrow, default)]
    links: Vec<LinkText<'a>>,
    #[serde(default)]
    status: Option<StatusText>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkText<'a> {
    #[serde(default, alias = "trace_id")]
    trace_id: TraceIdText,
    #[serde(default, alias = "span_id")]
    span_id: SpanIdText,
    #[serde(borrow, default, alias = "trace_state")]
    trace_state: Cow<'a, str>,
    #[serde(default)]
    flags: Number<u32>,
}

#[derive(Debug, serde::Deserialize)]
struct StatusText {
    #[serde(default)]
    code: ErrorCode,
}

/// The resource of a group of spans.
#[derive(Debug, serde::Deserialize)]
pub struct ResourceText<'a> {
    #[serde(borrow, default)]
    attributes: Vec<KeyValue<'a>>,
}

/// The same structures as the reader's, read by serde alone: the reference that the reader's rate is compared with.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[doc(hidden)]
pub struct WholeDocument<'a> {
    #[serde(borrow)]
    pub resource_spans: Vec<WholeResourceSpans<'a>>,
}

/// A group of [`WholeDocument`].
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[doc(hidden)]
pub struct WholeResourceSpans<'a> {
    #[serde(borrow)]
    pub resource: ResourceText<'a>,
    #[serde(borrow)]
    pub scope_spans: Vec<WholeScopeSpans<'a>>,
}

/// A group of [`WholeDocument`].
#[derive(Debug, serde::Deserialize)]
#[doc(hidden)]
pub struct WholeScopeSpans<'a> {
    #[serde(borrow)]
    pub spans: Vec<SpanText<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    #[serde(alias = "resource_spans", alias = "batches")]
    ResourceSpans,
    #[serde(alias = "scope_spans", alias = "instrumentationLibrarySpans")]
    ScopeSpans,
    Resource,
    Spans,
    Result,
    Data,
    #[serde(other)]
    Other,
}

/// One document: an object, or an array of them.
pub(super) struct Document<'s, 'o>(pub &'s mut Assembler<'o>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OTLP/JSON or Jaeger's JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_group = false;
        while let Some(key) = map.next_key()? {
            match key {
                Key::ResourceSpans => {
                    self.0.saw_traces();
                    map.next_value_seed(Groups(self.0))?;
                }
                Key::Data => map.next_value_seed(JaegerTraces(self.0))?,
                Key::Result => map.next_value_seed(Document(self.0))?,
                Key::Resource | Key::ScopeSpans => {
                    if !is_group {
                        self.0.begin_resource();
                        is_group = true;
                    }
                    group_field(self.0, &key, &mut map)?;
                }
                Key::Spans | Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if is_group {
            self.0.end_resource();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut documents: A) -> Result<(), A::Error> {
        while documents.next_element_seed(Document(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn group_field<'de, A: MapAccess<'de>>(
    out: &mut Assembler<'_>,
    key: &Key,
    map: &mut A,
) -> Result<(), A::Error> {
    match key {
        Key::Resource => {
            if let Some(resource) = map.next_value::<Option<ResourceText<'de>>>()? {
                out.set_resource(resource.attributes.iter().map(KeyValue::pair));
            }
        }
        Key::ScopeSpans => {
            out.saw_traces();
            map.next_value_seed(Scopes(out))?;
        }
        _ => drop(map.next_value::<IgnoredAny>()?),
    }
    Ok(())
}

/// Visits a sequence, or `null`, with a seed for each element.
macro_rules! sequence_of {
    ($(#[$doc:meta])* $name:ident, $element:ident, $what:literal) => {
        $(#[$doc])*
        struct $name<'s, 'o>(&'s mut Assembler<'o>);

        impl<'de> DeserializeSeed<'de> for $name<'_, '_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de> Visitor<'de> for $name<'_, '_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
                while elements.next_element_seed($element(self.0))?.is_some() {}
                Ok(())
            }

            fn visit_unit<E>(self) -> Result<(), E> {
                Ok(())
            }
        }
    };
}

sequence_of!(
    /// `resourceSpans`.
    Groups, Group, "an array of ResourceSpans"
);
sequence_of!(
    /// `scopeSpans`.
    Scopes, Scope, "an array of ScopeSpans"
);
sequence_of!(
    /// `spans`.
    Spans, OneSpan, "an array of spans"
);

struct Group<'s, 'o>(&'s mut Assembler<'o>);

impl<'de> DeserializeSeed<'de> for Group<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Group<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ResourceSpans")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.begin_resource();
        while let Some(key) = map.next_key::<Key>()? {
            group_field(self.0, &key, &mut map)?;
        }
        self.0.end_resource();
        Ok(())
    }
}

struct Scope<'s, 'o>(&'s mut Assembler<'o>);

impl<'de> DeserializeSeed<'de> for Scope<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Scope<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ScopeSpans")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            match key {
                Key::Spans => map.next_value_seed(Spans(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct OneSpan<'s, 'o>(&'s mut Assembler<'o>);

impl<'de> DeserializeSeed<'de> for OneSpan<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let span: SpanText<'de> = serde::Deserialize::deserialize(deserializer)?;
        let links = span.links.iter().map(|link| Link {
            trace: TraceId::from(link.trace_id.0),
            span: SpanId::from(link.span_id.0),
            flags: link.flags.0,
            trace_state: &link.trace_state,
        });
        let found = FoundSpan {
            trace: span.trace_id.0,
            span: NewSpan {
                id: span.span_id.0,
                parent: span.parent_span_id.0,
                start_ns: span.start_time_unix_nano.0,
                end_ns: span.end_time_unix_nano.0,
                flags: span.flags.0,
                kind: span.kind.0,
                is_error: span.status.is_some_and(|status| status.code.0),
                name: &span.name,
                trace_state: &span.trace_state,
            },
        };
        self.0
            .add(&found, span.attributes.iter().map(KeyValue::pair), links);
        Ok(())
    }
}
