//! One trace in memory: spans, their attributes, resources and links.
//!
//! A [`Trace`] owns five vectors and no other allocation, however many spans it has, because a hundred thousand traces
//! are read in a row. All text of a trace is in one string; names, keys and values are ranges of it.

mod calls;
mod spilled;
mod stage_names;

use std::ops::Range;

use baton_trace::attribute;
use baton_trace::stage::StageId;
use baton_trace::{SpanId, TraceId};

pub use self::calls::{CallSpans, Tree};
pub(crate) use self::spilled::SpillError;
use crate::limits::{ROOM_ATTRIBUTES, ROOM_SPANS, ROOM_TEXT_BYTES};

/// The spans of one trace id.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    id: TraceId,
    spans: Vec<Span>,
    attributes: Vec<StoredAttribute>,
    resources: Vec<StoredResource>,
    links: Vec<StoredLink>,
    text: String,
}

/// One span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// Its parent's id; `None` for a root.
    pub parent: Option<SpanId>,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, in nanoseconds since the Unix epoch; before the start if the clock ran backwards.
    pub end_ns: u64,
    /// Trace flags in the low 8 bits; above them whether the parent is remote (OTLP, `SpanFlags`).
    pub flags: u32,
    /// Its kind.
    pub kind: SpanKind,
    /// Its status is an error.
    pub is_error: bool,
    /// The stage that it is, 0 if it is a newer version's; `None` for a span that is not Baton's, and for a stage of a
    /// caller's turn.
    pub stage: Option<StageId>,
    /// The stage's name, if it is in no table: that of a caller's turn, or of a newer version.
    stage_name: TextRange,
    name: TextRange,
    trace_state: TextRange,
    attributes: IndexRange,
    links: IndexRange,
    resource: u32,
}

impl Span {
    /// Length in nanoseconds; 0 if the clock ran backwards.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// OpenTelemetry span kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum SpanKind {
    /// Not told, or inside one component.
    #[default]
    Internal,
    /// The server side of a call.
    Server,
    /// The client side of a call.
    Client,
    /// The sender of a message.
    Producer,
    /// The receiver of a message.
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A floating-point number.
    Double(f64),
    /// An array, a map or bytes, as text: elements are separated by a comma and a space.
    Other(&'a str),
}

/// A link to another span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// The trace of the linked span.
    pub trace: TraceId,
    /// The linked span.
    pub span: SpanId,
    /// Its trace flags.
    pub flags: u32,
    /// Its tracestate.
    pub trace_state: &'a str,
}

/// A span as a reader found it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewSpan<'a> {
    /// Its id; 0 is invalid.
    pub id: u64,
    /// Its parent's id; 0 for a root.
    pub parent: u64,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// As [`Span::flags`].
    pub flags: u32,
    /// Its kind.
    pub kind: SpanKind,
    /// Its status is an error.
    pub is_error: bool,
    /// Its name.
    pub name: &'a str,
    /// Its tracestate.
    pub trace_state: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct TextRange {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct IndexRange {
    start: u32,
    end: u32,
}

impl IndexRange {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct StoredAttribute {
    key: TextRange,
    value: StoredValue,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum StoredValue {
    Text(TextRange),
    Int(i64),
    Bool(bool),
    Double(f64),
    Other(TextRange),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct StoredResource {
    /// Which of the resources in the input it is, so that a trace holds it once.
    serial: u64,
    attributes: IndexRange,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct StoredLink {
    trace: TraceId,
    span: SpanId,
    flags: u32,
    trace_state: TextRange,
}

/// How much of each part of a trace to allocate at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    spans: usize,
    attributes: usize,
    text: usize,
}

impl Trace {
    /// A trace without spans.
    pub fn new(id: TraceId) -> Self {
        Self {
            id,
            spans: Vec::new(),
            attributes: Vec::new(),
            resources: Vec::new(),
            links: Vec::new(),
            text: String::new(),
        }
    }

    /// An empty trace with room for as much as `like` has, in reason: traces that follow each other are similar.
    pub(crate) fn with_room(id: TraceId, like: Room) -> Self {
        Self {
            spans: Vec::with_capacity(like.spans),
            attributes: Vec::with_capacity(like.attributes),
            text: String::with_capacity(like.text),
            ..Self::new(id)
        }
    }

    /// The room that a trace like this one needs.
    pub(crate) fn room(&self) -> Room {
        Room {
            spans: self.spans.len().min(ROOM_SPANS),
            attributes: self.attributes.len().min(ROOM_ATTRIBUTES),
            text: self.text.len().min(ROOM_TEXT_BYTES),
        }
    }

    /// Its id.
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// Its spans, in the order in which they were read.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// A span's name.
    pub fn name(&self, span: &Span) -> &str {
        self.slice(span.name)
    }

    /// A span's tracestate.
    pub fn trace_state(&self, span: &Span) -> &str {
        self.slice(span.trace_state)
    }

    /// The name of the stage that a span is, also of one that is in no table.
    pub fn stage_name(&self, span: &Span) -> Option<&str> {
        match span.stage.and_then(StageId::def) {
            Some(row) => Some(row.name),
            None => Some(self.slice(span.stage_name)).filter(|name| !name.is_empty()),
        }
    }

    /// A span's attributes, without `baton.stage`.
    pub fn attributes(&self, span: &Span) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.stored(span.attributes)
    }

    /// A span's attribute.
    pub fn attribute(&self, span: &Span, key: &str) -> Option<Value<'_>> {
        self.attributes(span)
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// A span's attribute, if it is text.
    pub fn text(&self, span: &Span, key: &str) -> Option<&str> {
        match self.attribute(span, key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A span's attribute, if it is an integer.
    pub fn integer(&self, span: &Span, key: &str) -> Option<i64> {
        match self.attribute(span, key)? {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The attributes of a span's resource.
    pub fn resource(&self, span: &Span) -> impl Iterator<Item = (&str, Value<'_>)> {
        let resource = self.resources.get(span.resource as usize);
        self.stored(resource.map(|resource| resource.attributes).unwrap_or_default())
    }

    /// An attribute of a span's resource, if it is text.
    pub fn resource_text(&self, span: &Span, key: &str) -> Option<&str> {
        self.resource(span).find_map(|(name, value)| match value {
            Value::Text(text) if name == key => Some(text),
            _ => None,
        })
    }

    /// Which of the trace's resources a span has. Two spans of one resource have the same number.
    pub fn resource_index(&self, span: &Span) -> u32 {
        span.resource
    }

    /// A span's links.
    pub fn links(&self, span: &Span) -> impl Iterator<Item = Link<'_>> {
        self.links[span.links.range()].iter().map(|link| Link {
            trace: link.trace,
            span: link.span,
            flags: link.flags,
            trace_state: self.slice(link.trace_state),
        })
    }

    /// Approximate memory that it holds, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.spans.capacity() * size_of::<Span>()
            + self.attributes.capacity() * size_of::<StoredAttribute>()
            + self.resources.capacity() * size_of::<StoredResource>()
            + self.links.capacity() * size_of::<StoredLink>()
            + self.text.capacity()
    }

    /// The resource with this serial number, if a span of this trace already has it.
    pub(crate) fn find_resource(&self, serial: u64) -> Option<u32> {
        let found = self
            .resources
            .iter()
            .rposition(|resource| resource.serial == serial)?;
        u32::try_from(found).ok()
    }

    /// Adds a resource. `None`: the trace has more of something than 32 bits can count.
    pub fn add_resource<'a>(
        &mut self,
        serial: u64,
        attributes: impl Iterator<Item = (&'a str, Value<'a>)>,
    ) -> Option<u32> {
        let index = u32::try_from(self.resources.len()).ok()?;
        let attributes = self.store(attributes)?;
        self.resources.push(StoredResource { serial, attributes });
        Some(index)
    }

    /// The attributes of the first resource.
    pub(crate) fn first_resource(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let first = self.resources.first();
        self.stored(first.map(|resource| resource.attributes).unwrap_or_default())
    }

    /// Gives attributes to a resource that was added before they were known.
    pub(crate) fn fill_resource<'a>(
        &mut self,
        serial: u64,
        attributes: impl Iterator<Item = (&'a str, Value<'a>)>,
    ) {
        let Some(attributes) = self.store(attributes) else {
            return;
        };
        for resource in self
            .resources
            .iter_mut()
            .filter(|resource| resource.serial == serial)
        {
            resource.attributes = attributes;
        }
    }

    /// Adds a span. `None`: its id is invalid, or the trace has more of something than 32 bits can count.
    pub fn add_span<'a>(
        &mut self,
        new: &NewSpan<'_>,
        resource: u32,
        attributes: impl Iterator<Item = (&'a str, Value<'a>)>,
        links: impl Iterator<Item = Link<'a>>,
    ) -> Option<&Span> {
        let id = span_id(new.id)?;
        let mut stage = None;
        let mut stage_name = TextRange::default();
        let first = u32::try_from(self.attributes.len()).ok()?;
        for (key, value) in attributes {
            match value {
                Value::Text(name) if key == attribute::STAGE => {
                    stage = stage_names::find(name);
                    if stage.and_then(StageId::def).is_none() {
                        stage_name = self.keep(name)?;
                    }
                }
                _ => self.store_one(key, value)?,
            }
        }
        let attributes = IndexRange {
            start: first,
            end: u32::try_from(self.attributes.len()).ok()?,
        };
        let first = u32::try_from(self.links.len()).ok()?;
        for link in links {
            let trace_state = self.keep(link.trace_state)?;
            self.links.push(StoredLink {
                trace: link.trace,
                span: link.span,
                flags: link.flags,
                trace_state,
            });
        }
        let links = IndexRange {
            start: first,
            end: u32::try_from(self.links.len()).ok()?,
        };
        let span = Span {
            id,
            parent: span_id(new.parent),
            start_ns: new.start_ns,
            end_ns: new.end_ns,
            flags: new.flags,
            kind: new.kind,
            is_error: new.is_error,
            stage,
            stage_name,
            name: self.keep(new.name)?,
            trace_state: self.keep(new.trace_state)?,
            attributes,
            links,
            resource,
        };
        self.spans.push(span);
        self.spans.last()
    }

    /// Removes spans that were read twice: the same id, times and stage. Spans that share an id and differ stay.
    /// Returns how many were removed.
    pub(crate) fn remove_duplicates(&mut self) -> u64 {
        let spans = &self.spans;
        // Most traces have no id twice.
        let mut ids: Vec<_> = spans.iter().map(|span| span.id.to_bytes()).collect();
        ids.sort_unstable();
        if !ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return 0;
        }
        let mut order: Vec<u32> = (0..spans.len() as u32).collect();
        let key = |index: u32| {
            let span = &spans[index as usize];
            (span.id.to_bytes(), span.start_ns, span.end_ns, span.stage)
        };
        // Stable, so the first one read is kept.
        order.sort_by_key(|index| key(*index));
        let is_same = |pair: &[u32]| key(pair[0]) == key(pair[1]);
        if !order.windows(2).any(is_same) {
            return 0;
        }
        let mut keep = vec![true; spans.len()];
        for pair in order.windows(2) {
            keep[pair[1] as usize] = !is_same(pair);
        }
        let before = self.spans.len();
        let mut kept = keep.into_iter();
        self.spans.retain(|_| kept.next().unwrap_or(true));
        (before - self.spans.len()) as u64
    }

    fn stored(&self, range: IndexRange) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.attributes[range.range()].iter().map(|attribute| {
            let value = match attribute.value {
                StoredValue::Text(text) => Value::Text(self.slice(text)),
                StoredValue::Int(number) => Value::Int(number),
                StoredValue::Bool(flag) => Value::Bool(flag),
                StoredValue::Double(number) => Value::Double(number),
                StoredValue::Other(text) => Value::Other(self.slice(text)),
            };
            (self.slice(attribute.key), value)
        })
    }

    fn store<'a>(&mut self, attributes: impl Iterator<Item = (&'a str, Value<'a>)>) -> Option<IndexRange> {
        let start = u32::try_from(self.attributes.len()).ok()?;
        for (key, value) in attributes {
            self.store_one(key, value)?;
        }
        let end = u32::try_from(self.attributes.len()).ok()?;
        Some(IndexRange { start, end })
    }

    fn store_one(&mut self, key: &str, value: Value<'_>) -> Option<()> {
        let key = self.keep(key)?;
        let value = match value {
            Value::Text(text) => StoredValue::Text(self.keep(text)?),
            Value::Int(number) => StoredValue::Int(number),
            Value::Bool(flag) => StoredValue::Bool(flag),
            Value::Double(number) => StoredValue::Double(number),
            Value::Other(text) => StoredValue::Other(self.keep(text)?),
        };
        self.attributes.push(StoredAttribute { key, value });
        Some(())
    }

    fn keep(&mut self, text: &str) -> Option<TextRange> {
        let start = u32::try_from(self.text.len()).ok()?;
        let len = u32::try_from(text.len()).ok()?;
        self.text.push_str(text);
        Some(TextRange { start, len })
    }

    fn slice(&self, range: TextRange) -> &str {
        let start = range.start as usize;
        &self.text[start..start + range.len as usize]
    }
}

fn span_id(id: u64) -> Option<SpanId> {
    (id != 0).then(|| SpanId::from(id))
}

#[cfg(test)]
mod tests;
