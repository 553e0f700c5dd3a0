//! Writes a document.

use std::collections::HashMap;
use std::sync::LazyLock;

use baton_trace::attribute;
use baton_trace::stage::{self, StageId, metadata};
use baton_trace::{SpanId, TraceId};

use super::{has, id_form, kind, varint};
use crate::limits::CALL_IDS_MAX;
use crate::part::{Attribute, Span, TracePart, Value};

/// Appends the document of `part` to `out`. The trace id is not in it.
pub fn encode(part: &TracePart<'_>, out: &mut Vec<u8>) {
    let spans = || part.groups.iter().flat_map(|group| &group.spans);
    let mut times: Vec<u64> = spans().flat_map(|span| [span.start_ns, span.end_ns]).collect();
    times.sort_unstable();
    times.dedup();
    let mut positions = HashMap::new();
    for (position, span) in spans().enumerate() {
        positions.entry(span.id).or_insert(position);
    }
    let mut encoder = Encoder {
        trace: TraceId::from(part.trace_id),
        structure: Vec::new(),
        numbers: Vec::new(),
        raw: Vec::new(),
        times,
        positions,
        call_ids: Vec::new(),
        long_ids: Vec::new(),
    };
    encoder.part(part);
    for column in [&encoder.structure, &encoder.numbers] {
        varint::write(out, column.len() as u64);
        out.extend_from_slice(column);
    }
    out.extend_from_slice(&encoder.raw);
}

struct Encoder {
    trace: TraceId,
    structure: Vec<u8>,
    numbers: Vec<u8>,
    raw: Vec<u8>,
    times: Vec<u64>,
    /// Spans by id.
    positions: HashMap<u64, usize>,
    call_ids: Vec<u64>,
    long_ids: Vec<u128>,
}

impl Encoder {
    fn part(&mut self, part: &TracePart<'_>) {
        self.count(self.times.len());
        let mut before = 0;
        for time in &self.times {
            varint::write(&mut self.numbers, time - before);
            before = *time;
        }
        self.count(part.groups.len());
        for group in &part.groups {
            self.attributes(&group.resource);
            self.text(&group.schema_url);
            self.text(&group.scope);
            self.text(&group.scope_version);
            self.count(group.spans.len());
            for span in &group.spans {
                self.span(span);
            }
        }
    }

    fn span(&mut self, span: &Span<'_>) {
        let (parent_form, parent) = match (span.parent, self.positions.get(&span.parent)) {
            (0, _) => (id_form::NONE, 0),
            (_, Some(position)) => (id_form::SPAN, *position),
            (parent, None) => self.call_id(parent),
        };
        let (form, known, derived) = match self.derived(span) {
            Some((known, stage, attempt)) => (id_form::DERIVED, known, Some([stage.0, attempt])),
            None => {
                let (form, known) = self.call_id(span.id);
                (form, known, None)
            }
        };
        let mut first = parent_form | form << 2;
        let has_status = span.status != 0 || !span.status_message.is_empty();
        for (bit, is_set) in [
            (has::TRACE_STATE, !span.trace_state.is_empty()),
            (has::STATUS, has_status),
            (has::LINKS, !span.links.is_empty()),
            (has::DROPPED_ATTRIBUTES, span.dropped_attributes != 0),
        ] {
            first |= if is_set { bit } else { 0 };
        }
        self.structure.push(first);
        if matches!(parent_form, id_form::SPAN | id_form::KNOWN) {
            self.count(parent);
        }
        if matches!(form, id_form::DERIVED | id_form::KNOWN) {
            self.count(known);
        }
        self.structure.extend(derived.iter().flatten());
        self.count(span.kind as usize);
        self.count(span.flags as usize);
        for time in [span.start_ns, span.end_ns] {
            let position = self.times.binary_search(&time).unwrap_or_default();
            self.count(position);
        }
        self.text(&span.name);
        self.attributes(&span.attributes);
        if !span.trace_state.is_empty() {
            self.text(&span.trace_state);
        }
        if has_status {
            self.count(span.status as usize);
            self.text(&span.status_message);
        }
        if !span.links.is_empty() {
            self.count(span.links.len());
            for link in &span.links {
                self.raw.extend(link.trace_id.to_be_bytes());
                self.raw.extend(link.span_id.to_be_bytes());
                self.count(link.flags as usize);
                self.text(&link.trace_state);
            }
        }
        if span.dropped_attributes != 0 {
            self.count(span.dropped_attributes as usize);
        }
    }

    /// The form of an id that is not derived.
    fn call_id(&mut self, id: u64) -> (u8, usize) {
        if let Some(known) = self.call_ids.iter().position(|known| *known == id) {
            return (id_form::KNOWN, known);
        }
        self.raw.extend(id.to_be_bytes());
        if self.call_ids.len() < CALL_IDS_MAX {
            self.call_ids.push(id);
        }
        (id_form::RAW, 0)
    }

    /// The call id, stage and attempt that the span's id is derived from.
    fn derived(&self, span: &Span<'_>) -> Option<(usize, StageId, u8)> {
        let mut stage = None;
        let mut attempt = 0;
        for (key, value) in &span.attributes {
            match value {
                Value::Text(name) if key == attribute::STAGE => stage = STAGES.get(&**name).copied(),
                Value::Int(number) if key == attribute::ATTEMPT => attempt = u8::try_from(*number).ok()?,
                _ => {}
            }
        }
        let stage = stage?;
        let derives = |call: &u64| {
            stage::span_id(self.trace, SpanId::from(*call), stage, attempt) == SpanId::from(span.id)
        };
        // The id of a `call` is the call id itself.
        let known = self.call_ids.iter().position(derives)?;
        Some((known, stage, attempt))
    }

    fn attributes(&mut self, attributes: &[Attribute<'_>]) {
        self.count(attributes.len());
        for (key, value) in attributes {
            self.text(key);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Empty => self.structure.push(kind::EMPTY),
            Value::Text(text) => self.text_value(text),
            Value::Int(number) => {
                self.structure.push(kind::INT);
                varint::write(&mut self.numbers, varint::zigzag(*number));
            }
            Value::Bool(flag) => self.structure.push(if *flag { kind::TRUE } else { kind::FALSE }),
            Value::Double(number) => {
                self.structure.push(kind::DOUBLE);
                self.raw.extend(number.to_bits().to_be_bytes());
            }
            Value::Bytes(bytes) => {
                self.structure.push(kind::BYTES);
                self.count(bytes.len());
                self.structure.extend_from_slice(bytes);
            }
            Value::Array(values) => {
                self.structure.push(kind::ARRAY);
                self.count(values.len());
                values.iter().for_each(|value| self.value(value));
            }
            Value::Map(entries) => {
                self.structure.push(kind::MAP);
                self.attributes(entries);
            }
        }
    }

    fn text_value(&mut self, text: &str) {
        if let Some(id) = hex(text) {
            self.structure.push(kind::HEX);
            self.long_id(id);
        } else if let Some((prefix, id)) = uuid(text) {
            self.structure.push(kind::UUID);
            self.text(prefix);
            self.long_id(id);
        } else {
            self.structure.push(kind::TEXT);
            self.text(text);
        }
    }

    /// A repeated id is written as its number.
    fn long_id(&mut self, id: u128) {
        let known = self.long_ids.iter().position(|known| *known == id);
        self.count(known.unwrap_or(self.long_ids.len()));
        if known.is_none() {
            self.raw.extend(id.to_be_bytes());
            self.long_ids.push(id);
        }
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.structure.extend_from_slice(text.as_bytes());
    }

    fn count(&mut self, count: usize) {
        varint::write(&mut self.structure, count as u64);
    }
}

static STAGES: LazyLock<HashMap<&'static str, StageId>> = LazyLock::new(|| {
    let rows = stage::all().chain(metadata::STAGES);
    rows.map(|row| (row.name, row.id)).collect()
});

/// The number that has exactly these 32 digits.
fn hex(text: &str) -> Option<u128> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hex = text.len() == 32 && text.as_bytes().iter().all(is_digit);
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The text before the UUID at its end, and the UUID.
fn uuid(text: &str) -> Option<(&str, u128)> {
    let (prefix, uuid) = text.split_at_checked(text.len().checked_sub(36)?)?;
    let dashes = [8, 13, 18, 23];
    let is_right = |(at, byte): (usize, u8)| (byte == b'-') == dashes.contains(&at);
    if !uuid.bytes().enumerate().all(is_right) {
        return None;
    }
    Some((prefix, hex(&uuid.replace('-', ""))?))
}
