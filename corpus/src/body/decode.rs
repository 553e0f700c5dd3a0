//! Reads a document. Nothing in it is trusted: counts are bounded by the bytes that are left.

use std::borrow::Cow;

use baton_trace::stage::{self, StageId};
use baton_trace::{SpanId, TraceId};

use super::{has, id_form, kind, varint};
use crate::limits::{CALL_IDS_MAX, VALUE_DEPTH_MAX};
use crate::part::{Attribute, Link, Span, SpanGroup, TracePart, Value};

/// A document is not what [`encode`](super::encode()) writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the encoding of a trace is damaged: {0}")]
pub struct BodyError(&'static str);

type Read<T> = Result<T, BodyError>;

/// Decodes the document of the trace `trace_id`.
///
/// # Errors
/// [`BodyError`].
pub fn decode(trace_id: u128, mut document: &[u8]) -> Read<TracePart<'_>> {
    let mut column = || {
        let len = varint::read(&mut document).ok_or(BodyError("a length is cut off"))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (column, rest) = document
            .split_at_checked(len)
            .ok_or(BodyError("a column is cut off"))?;
        document = rest;
        Ok(column)
    };
    let (structure, numbers) = (column()?, column()?);
    let mut decoder = Decoder {
        trace: TraceId::from(trace_id),
        structure,
        numbers,
        raw: document,
        times: Vec::new(),
        call_ids: Vec::new(),
        long_ids: Vec::new(),
    };
    let groups = decoder.groups()?;
    let left = [decoder.structure, decoder.numbers, decoder.raw];
    match left.iter().all(|column| column.is_empty()) {
        true => Ok(TracePart { trace_id, groups }),
        false => Err(BodyError("a column is too long")),
    }
}

struct Decoder<'a> {
    trace: TraceId,
    structure: &'a [u8],
    numbers: &'a [u8],
    raw: &'a [u8],
    times: Vec<u64>,
    call_ids: Vec<u64>,
    long_ids: Vec<u128>,
}

/// A parent that is the span at a position, which may follow.
struct ParentAt {
    group: usize,
    span: usize,
    position: usize,
}

impl<'a> Decoder<'a> {
    fn groups(&mut self) -> Read<Vec<SpanGroup<'a>>> {
        let times = self.numbers_len()?;
        self.times.reserve(times);
        let mut time = 0_u64;
        for _ in 0..times {
            time = time
                .checked_add(self.number()?)
                .ok_or(BodyError("a time is out of range"))?;
            self.times.push(time);
        }
        let mut parents = Vec::new();
        let mut groups = Vec::new();
        for group in 0..self.count()? {
            let mut decoded = SpanGroup {
                resource: self.attributes(VALUE_DEPTH_MAX)?,
                schema_url: self.text()?.into(),
                scope: self.text()?.into(),
                scope_version: self.text()?.into(),
                spans: Vec::new(),
            };
            for span in 0..self.count()? {
                let (decoded_span, position) = self.span()?;
                decoded.spans.push(decoded_span);
                parents.extend(position.map(|position| ParentAt {
                    group,
                    span,
                    position,
                }));
            }
            groups.push(decoded);
        }
        let ids: Vec<u64> = groups
            .iter()
            .flat_map(|group| &group.spans)
            .map(|span| span.id)
            .collect();
        for parent in parents {
            let id = ids.get(parent.position).ok_or(BodyError("a parent is missing"))?;
            groups[parent.group].spans[parent.span].parent = *id;
        }
        Ok(groups)
    }

    /// A span, and the position of its parent where that is in the document.
    fn span(&mut self) -> Read<(Span<'a>, Option<usize>)> {
        let first = self.byte()?;
        let (parent_form, form) = (first & 3, first >> 2 & 3);
        let parent_index = match parent_form {
            id_form::SPAN | id_form::KNOWN => self.index()?,
            _ => 0,
        };
        let index = match form {
            id_form::DERIVED | id_form::KNOWN => self.index()?,
            _ => 0,
        };
        let (parent, position) = match parent_form {
            id_form::NONE => (0, None),
            id_form::RAW => (self.call_id()?, None),
            id_form::SPAN => (0, Some(parent_index)),
            _ => (self.known(parent_index)?, None),
        };
        let id = match form {
            id_form::RAW => self.call_id()?,
            id_form::DERIVED => {
                let (stage, attempt) = (StageId(self.byte()?), self.byte()?);
                let call = SpanId::from(self.known(index)?);
                u64::from_be_bytes(stage::span_id(self.trace, call, stage, attempt).to_bytes())
            }
            id_form::KNOWN => self.known(index)?,
            _ => return Err(BodyError("a span has no id")),
        };
        let mut span = Span {
            id,
            parent,
            kind: self.small()?,
            flags: self.small()?,
            start_ns: self.time()?,
            end_ns: self.time()?,
            name: self.text()?.into(),
            attributes: self.attributes(VALUE_DEPTH_MAX)?,
            ..Span::default()
        };
        if first & has::TRACE_STATE != 0 {
            span.trace_state = self.text()?.into();
        }
        if first & has::STATUS != 0 {
            span.status = self.small()?;
            span.status_message = self.text()?.into();
        }
        if first & has::LINKS != 0 {
            for _ in 0..self.count()? {
                span.links.push(Link {
                    trace_id: u128::from_be_bytes(self.raw()?),
                    span_id: u64::from_be_bytes(self.raw()?),
                    flags: self.small()?,
                    trace_state: self.text()?.into(),
                });
            }
        }
        if first & has::DROPPED_ATTRIBUTES != 0 {
            span.dropped_attributes = self.small()?;
        }
        Ok((span, position))
    }

    fn call_id(&mut self) -> Read<u64> {
        let id = u64::from_be_bytes(self.raw()?);
        if self.call_ids.len() < CALL_IDS_MAX {
            self.call_ids.push(id);
        }
        Ok(id)
    }

    fn known(&self, index: usize) -> Read<u64> {
        let id = self.call_ids.get(index);
        id.copied().ok_or(BodyError("a call id is missing"))
    }

    fn attributes(&mut self, depth: usize) -> Read<Vec<Attribute<'a>>> {
        let count = self.count()?;
        // An attribute has at least a length and a kind.
        let mut attributes = Vec::with_capacity(count.min(self.structure.len() / 2));
        for _ in 0..count {
            let key = self.text()?;
            attributes.push((key.into(), self.value(depth)?));
        }
        Ok(attributes)
    }

    fn value(&mut self, depth: usize) -> Read<Value<'a>> {
        let deeper = || {
            depth
                .checked_sub(1)
                .ok_or(BodyError("a value is nested too deeply"))
        };
        Ok(match self.byte()? {
            kind::EMPTY => Value::Empty,
            kind::TEXT => Value::Text(self.text()?.into()),
            kind::INT => Value::Int(varint::unzigzag(self.number()?)),
            kind::FALSE => Value::Bool(false),
            kind::TRUE => Value::Bool(true),
            kind::DOUBLE => Value::Double(f64::from_bits(u64::from_be_bytes(self.raw()?))),
            kind::BYTES => Value::Bytes(Cow::Borrowed(self.bytes()?)),
            kind::ARRAY => {
                let depth = deeper()?;
                let mut values = Vec::new();
                for _ in 0..self.count()? {
                    values.push(self.value(depth)?);
                }
                Value::Array(values)
            }
            kind::MAP => Value::Map(self.attributes(deeper()?)?),
            kind::HEX => Value::Text(format!("{:032x}", self.long_id()?).into()),
            kind::UUID => {
                let prefix = self.text()?;
                let hex = format!("{:032x}", self.long_id()?);
                let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                Value::Text(format!("{prefix}{}", uuid.join("-")).into())
            }
            _ => return Err(BodyError("a value has an unknown kind")),
        })
    }

    fn long_id(&mut self) -> Read<u128> {
        let index = self.index()?;
        match self.long_ids.get(index) {
            Some(id) => Ok(*id),
            None if index == self.long_ids.len() => {
                let id = u128::from_be_bytes(self.raw()?);
                self.long_ids.push(id);
                Ok(id)
            }
            None => Err(BodyError("an id is missing")),
        }
    }

    fn time(&mut self) -> Read<u64> {
        let index = self.index()?;
        let time = self.times.get(index);
        time.copied().ok_or(BodyError("a time is missing"))
    }

    fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| BodyError("a text is not UTF-8"))
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.index()?;
        let (bytes, rest) = self
            .structure
            .split_at_checked(len)
            .ok_or(BodyError("a text is cut off"))?;
        self.structure = rest;
        Ok(bytes)
    }

    /// The number of items that follow, each at least a byte of the structure.
    fn count(&mut self) -> Read<usize> {
        let count = self.index()?;
        match count <= self.structure.len() {
            true => Ok(count),
            false => Err(BodyError("there are fewer items than announced")),
        }
    }

    /// The number of items that follow in the numbers.
    fn numbers_len(&mut self) -> Read<usize> {
        let count = self.index()?;
        match count <= self.numbers.len() {
            true => Ok(count),
            false => Err(BodyError("there are fewer times than announced")),
        }
    }

    fn index(&mut self) -> Read<usize> {
        let index = varint::read(&mut self.structure).ok_or(BodyError("a number is cut off"))?;
        Ok(usize::try_from(index).unwrap_or(usize::MAX))
    }

    fn small(&mut self) -> Read<u32> {
        u32::try_from(self.index()?).map_err(|_| BodyError("a number is out of range"))
    }

    fn number(&mut self) -> Read<u64> {
        varint::read(&mut self.numbers).ok_or(BodyError("a number is cut off"))
    }

    fn byte(&mut self) -> Read<u8> {
        let (byte, rest) = self
            .structure
            .split_first()
            .ok_or(BodyError("the structure is cut off"))?;
        self.structure = rest;
        Ok(*byte)
    }

    fn raw<const LEN: usize>(&mut self) -> Read<[u8; LEN]> {
        let (bytes, rest) = self
            .raw
            .split_first_chunk()
            .ok_or(BodyError("an id is cut off"))?;
        self.raw = rest;
        Ok(*bytes)
    }
}
