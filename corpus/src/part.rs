//! The part of a trace that one process recorded: spans by resource, as in OTLP.

use std::borrow::Cow;

/// Spans of one trace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TracePart<'a> {
    /// The trace id.
    pub trace_id: u128,
    /// Spans by resource and scope.
    pub groups: Vec<SpanGroup<'a>>,
}

impl TracePart<'_> {
    /// Number of spans.
    pub fn spans(&self) -> usize {
        self.groups.iter().map(|group| group.spans.len()).sum()
    }
}

/// Spans of one resource and instrumentation scope.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanGroup<'a> {
    /// Attributes of the resource.
    pub resource: Vec<Attribute<'a>>,
    /// The schema of the resource.
    pub schema_url: Cow<'a, str>,
    /// Name of the instrumentation scope.
    pub scope: Cow<'a, str>,
    /// Its version.
    pub scope_version: Cow<'a, str>,
    /// The spans.
    pub spans: Vec<Span<'a>>,
}

/// One span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span<'a> {
    /// Its id.
    pub id: u64,
    /// Its parent's id; 0 for a root.
    pub parent: u64,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// OTLP `Span.flags`.
    pub flags: u32,
    /// OTLP `Span.kind`.
    pub kind: u32,
    /// OTLP `Status.code`.
    pub status: u32,
    /// OTLP `Status.message`.
    pub status_message: Cow<'a, str>,
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its tracestate.
    pub trace_state: Cow<'a, str>,
    /// Its attributes.
    pub attributes: Vec<Attribute<'a>>,
    /// Attributes that the exporter left out.
    pub dropped_attributes: u32,
    /// Links to other spans.
    pub links: Vec<Link<'a>>,
}

/// A key and its value.
pub type Attribute<'a> = (Cow<'a, str>, Value<'a>);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// None given.
    Empty,
    /// Text.
    Text(Cow<'a, str>),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A floating-point number.
    Double(f64),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// A map.
    Map(Vec<Attribute<'a>>),
}

/// A link to another span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link<'a> {
    /// The trace of the linked span.
    pub trace_id: u128,
    /// The linked span.
    pub span_id: u64,
    /// Its flags.
    pub flags: u32,
    /// Its tracestate.
    pub trace_state: Cow<'a, str>,
}
