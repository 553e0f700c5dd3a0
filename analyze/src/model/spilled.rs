//! Traces in the temporary file: the fields of [`Trace`] in order, integers in little-endian order.
//!
//! Only this process reads what it wrote, but a disk may be full or the file truncated by somebody else, so decoding
//! checks every length.

use baton_trace::stage::StageId;
use baton_trace::{SpanId, TraceId};

use super::{
    IndexRange, Span, SpanKind, StoredAttribute, StoredLink, StoredResource, StoredValue, TextRange, Trace,
};

/// The temporary file does not hold what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the temporary file was changed by another program")]
pub(crate) struct SpillError;

impl Trace {
    /// Appends the trace to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_bytes());
        let lengths = [
            self.spans.len(),
            self.attributes.len(),
            self.resources.len(),
            self.links.len(),
            self.text.len(),
        ];
        lengths.iter().for_each(|len| put(out, *len as u32));
        for span in &self.spans {
            out.extend_from_slice(&span.id.to_bytes());
            out.extend_from_slice(&span.parent.unwrap_or(SpanId::INVALID).to_bytes());
            out.extend_from_slice(&span.start_ns.to_le_bytes());
            out.extend_from_slice(&span.end_ns.to_le_bytes());
            put(out, span.flags);
            let stage = span.stage.map_or(0, |stage| stage.0);
            let bits = u8::from(span.is_error) | u8::from(span.stage.is_some()) << 1;
            out.extend_from_slice(&[span.kind as u8, bits, stage]);
            for text in [span.stage_name, span.name, span.trace_state] {
                put_text(out, text);
            }
            for range in [span.attributes, span.links] {
                put_range(out, range);
            }
            put(out, span.resource);
        }
        for attribute in &self.attributes {
            put_text(out, attribute.key);
            let (tag, bits) = match attribute.value {
                StoredValue::Text(text) => (0, packed(text)),
                StoredValue::Int(number) => (1, number.cast_unsigned()),
                StoredValue::Bool(flag) => (2, flag.into()),
                StoredValue::Double(number) => (3, number.to_bits()),
                StoredValue::Other(text) => (4, packed(text)),
            };
            out.push(tag);
            out.extend_from_slice(&bits.to_le_bytes());
        }
        for resource in &self.resources {
            out.extend_from_slice(&resource.serial.to_le_bytes());
            put_range(out, resource.attributes);
        }
        for link in &self.links {
            out.extend_from_slice(&link.trace.to_bytes());
            out.extend_from_slice(&link.span.to_bytes());
            put(out, link.flags);
            put_text(out, link.trace_state);
        }
        out.extend_from_slice(self.text.as_bytes());
    }

    /// Takes one trace off the front of `bytes`.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, SpillError> {
        let mut input = Input(bytes);
        let mut trace = Self::new(TraceId::from_bytes(input.array()?));
        let [spans, attributes, resources, links, text] = [(); 5].map(|()| input.u32());
        for _ in 0..spans? {
            trace.spans.push(span(&mut input)?);
        }
        for _ in 0..attributes? {
            let key = input.text()?;
            let [tag] = input.array()?;
            let bits = u64::from_le_bytes(input.array()?);
            let value = match tag {
                0 => StoredValue::Text(unpacked(bits)),
                1 => StoredValue::Int(bits.cast_signed()),
                2 => StoredValue::Bool(bits != 0),
                3 => StoredValue::Double(f64::from_bits(bits)),
                4 => StoredValue::Other(unpacked(bits)),
                _ => return Err(SpillError),
            };
            trace.attributes.push(StoredAttribute { key, value });
        }
        for _ in 0..resources? {
            trace.resources.push(StoredResource {
                serial: u64::from_le_bytes(input.array()?),
                attributes: input.range()?,
            });
        }
        for _ in 0..links? {
            trace.links.push(StoredLink {
                trace: TraceId::from_bytes(input.array()?),
                span: SpanId::from_bytes(input.array()?),
                flags: input.u32()?,
                trace_state: input.text()?,
            });
        }
        let text = input.take(text? as usize)?;
        str::from_utf8(text)
            .map_err(|_| SpillError)?
            .clone_into(&mut trace.text);
        *bytes = input.0;
        trace.is_consistent().then_some(trace).ok_or(SpillError)
    }

    /// Appends the spans of another part of the same trace.
    pub(crate) fn append(&mut self, other: Self) -> Option<()> {
        let text = u32::try_from(self.text.len()).ok()?;
        let attributes = u32::try_from(self.attributes.len()).ok()?;
        let resources = u32::try_from(self.resources.len()).ok()?;
        let links = u32::try_from(self.links.len()).ok()?;
        u32::try_from(self.text.len() + other.text.len()).ok()?;
        u32::try_from(self.attributes.len() + other.attributes.len()).ok()?;
        let moved = |range: TextRange| TextRange {
            start: range.start + text,
            ..range
        };
        let shifted = |range: IndexRange, by: u32| IndexRange {
            start: range.start + by,
            end: range.end + by,
        };
        self.text.push_str(&other.text);
        self.attributes.extend(other.attributes.iter().map(|attribute| {
            let value = match attribute.value {
                StoredValue::Text(range) => StoredValue::Text(moved(range)),
                StoredValue::Other(range) => StoredValue::Other(moved(range)),
                plain => plain,
            };
            StoredAttribute {
                key: moved(attribute.key),
                value,
            }
        }));
        self.resources
            .extend(other.resources.iter().map(|resource| StoredResource {
                attributes: shifted(resource.attributes, attributes),
                ..*resource
            }));
        self.links.extend(other.links.iter().map(|link| StoredLink {
            trace_state: moved(link.trace_state),
            ..*link
        }));
        self.spans.extend(other.spans.iter().map(|span| Span {
            stage_name: moved(span.stage_name),
            name: moved(span.name),
            trace_state: moved(span.trace_state),
            attributes: shifted(span.attributes, attributes),
            links: shifted(span.links, links),
            resource: span.resource + resources,
            ..*span
        }));
        Some(())
    }

    /// Whether every range is inside the trace, so that no accessor can panic.
    fn is_consistent(&self) -> bool {
        let is_text = |range: TextRange| {
            let start = range.start as usize;
            self.text.get(start..start + range.len as usize).is_some()
        };
        let is_within = |range: IndexRange, len: usize| range.start <= range.end && range.end as usize <= len;
        let is_attribute = |attribute: &StoredAttribute| {
            let is_value = match attribute.value {
                StoredValue::Text(range) | StoredValue::Other(range) => is_text(range),
                StoredValue::Int(_) | StoredValue::Bool(_) | StoredValue::Double(_) => true,
            };
            is_value && is_text(attribute.key)
        };
        let is_span = |span: &Span| {
            is_text(span.stage_name)
                && is_text(span.name)
                && is_text(span.trace_state)
                && is_within(span.attributes, self.attributes.len())
                && is_within(span.links, self.links.len())
        };
        self.spans.iter().all(is_span)
            && self.attributes.iter().all(is_attribute)
            && self.links.iter().all(|link| is_text(link.trace_state))
            && self
                .resources
                .iter()
                .all(|resource| is_within(resource.attributes, self.attributes.len()))
    }
}

fn span(input: &mut Input<'_>) -> Result<Span, SpillError> {
    let id = SpanId::from_bytes(input.array()?);
    let parent = SpanId::from_bytes(input.array()?);
    let start_ns = u64::from_le_bytes(input.array()?);
    let end_ns = u64::from_le_bytes(input.array()?);
    let flags = input.u32()?;
    let [kind, bits, stage] = input.array()?;
    Ok(Span {
        id,
        parent: (parent != SpanId::INVALID).then_some(parent),
        start_ns,
        end_ns,
        flags,
        kind: match kind {
            0 => SpanKind::Internal,
            1 => SpanKind::Server,
            2 => SpanKind::Client,
            3 => SpanKind::Producer,
            4 => SpanKind::Consumer,
            _ => return Err(SpillError),
        },
        is_error: bits & 1 != 0,
        stage: (bits & 2 != 0).then_some(StageId(stage)),
        stage_name: input.text()?,
        name: input.text()?,
        trace_state: input.text()?,
        attributes: input.range()?,
        links: input.range()?,
        resource: input.u32()?,
    })
}

fn put(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, range: TextRange) {
    put(out, range.start);
    put(out, range.len);
}

fn put_range(out: &mut Vec<u8>, range: IndexRange) {
    put(out, range.start);
    put(out, range.end);
}

fn packed(range: TextRange) -> u64 {
    u64::from(range.start) | u64::from(range.len) << 32
}

fn unpacked(bits: u64) -> TextRange {
    TextRange {
        start: bits as u32,
        len: (bits >> 32) as u32,
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], SpillError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(SpillError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SpillError> {
        self.take(N)?.try_into().map_err(|_| SpillError)
    }

    fn u32(&mut self) -> Result<u32, SpillError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<TextRange, SpillError> {
        Ok(TextRange {
            start: self.u32()?,
            len: self.u32()?,
        })
    }

    fn range(&mut self) -> Result<IndexRange, SpillError> {
        Ok(IndexRange {
            start: self.u32()?,
            end: self.u32()?,
        })
    }
}
