//! Reads segments of a corpus (`--trace-dir`).

use std::io::{self, Read};

use baton_corpus::dictionary::FrameReader;
use baton_corpus::part::{self, Attribute, TracePart};
use baton_corpus::segment::{Gap, Item, SegmentReader};
use baton_trace::{SpanId, TraceId};

use super::assembler::{Assembler, FoundSpan};
use super::documents::TextFault;
use super::json::AnyValue;
use crate::model::{Link, NewSpan, SpanKind};

/// Reads a segment. Where only one trace is wanted, only the frames with parts of it are decompressed.
pub(super) fn read(
    input: impl Read,
    out: &mut Assembler<'_>,
    mut on_fault: impl FnMut(TextFault),
) -> io::Result<()> {
    let mut segment = SegmentReader::new(input);
    let mut frames = FrameReader::default();
    let mut content = Vec::new();
    // Counted where a text has lines.
    let mut number = 0;
    let only = out.only;
    out.saw_traces();
    while let Some(item) = segment.next_item()? {
        number += 1;
        let before = out.summary.spans;
        let mut fault = |offset, what: String, out: &Assembler<'_>| {
            on_fault(TextFault {
                line: number,
                offset,
                what,
                spans_before: out.summary.spans - before,
            });
        };
        let block = match item {
            Item::Block(block) => block,
            Item::Gap(gap) => {
                fault(gap.offset, describe(&gap), out);
                continue;
            }
        };
        if only.is_some_and(|only| !block.trace_ids().any(|id| id == only)) {
            continue;
        }
        let read = block.parts(&mut frames, &mut content, |part| match part {
            Ok(part) if only.is_none_or(|only| only == part.trace_id) => add(&part, out),
            Ok(_) => {}
            Err(error) => fault(block.offset, error.to_string(), out),
        });
        if let Err(error) = read {
            fault(block.offset, error.to_string(), out);
        }
    }
    Ok(())
}

fn describe(gap: &Gap) -> String {
    match gap {
        Gap {
            version: Some(version),
            ..
        } => format!(
            "{} bytes of version {version} of the format; read them with the version of Baton that wrote them",
            gap.len
        ),
        Gap { is_tail: true, .. } => format!(
            "{} bytes of a trace whose writing was interrupted; the next command that appends to this segment removes \
             them",
            gap.len
        ),
        Gap { .. } => format!("{} damaged bytes; reading goes on after them", gap.len),
    }
}

fn add(part: &TracePart<'_>, out: &mut Assembler<'_>) {
    for group in &part.groups {
        out.begin_resource();
        let resource = values(&group.resource);
        out.set_resource(pairs(&resource));
        for span in &group.spans {
            let attributes = values(&span.attributes);
            let found = FoundSpan {
                trace: part.trace_id,
                span: NewSpan {
                    id: span.id,
                    parent: span.parent,
                    start_ns: span.start_ns,
                    end_ns: span.end_ns,
                    flags: span.flags,
                    kind: kind(span.kind),
                    // OTLP, `Status.StatusCode`.
                    is_error: span.status == 2,
                    name: &span.name,
                    trace_state: &span.trace_state,
                },
            };
            let links = span.links.iter().map(|link| Link {
                trace: TraceId::from(link.trace_id),
                span: SpanId::from(link.span_id),
                flags: link.flags,
                trace_state: &link.trace_state,
            });
            out.add(&found, pairs(&attributes), links);
        }
        out.end_resource();
    }
    out.end_document();
}

type Pair<'a> = (&'a str, AnyValue<'a>);

fn values<'a>(attributes: &'a [Attribute<'_>]) -> Vec<Pair<'a>> {
    attributes.iter().map(|(key, one)| (&**key, value(one))).collect()
}

fn pairs<'a>(values: &'a [Pair<'a>]) -> impl Iterator<Item = (&'a str, crate::model::Value<'a>)> {
    values.iter().map(|(key, value)| (*key, value.value()))
}

fn value<'a>(from: &'a part::Value<'_>) -> AnyValue<'a> {
    match from {
        part::Value::Empty => AnyValue::Empty,
        part::Value::Text(text) => AnyValue::Text((&**text).into()),
        part::Value::Int(number) => AnyValue::Int(*number),
        part::Value::Bool(flag) => AnyValue::Bool(*flag),
        part::Value::Double(number) => AnyValue::Double(*number),
        // As OTLP/JSON writes bytes.
        part::Value::Bytes(bytes) => AnyValue::Other(data_encoding::BASE64.encode(bytes)),
        part::Value::Array(values) => {
            let values: Vec<_> = values.iter().map(value).collect();
            AnyValue::list(&values)
        }
        part::Value::Map(entries) => AnyValue::map(&values(entries)),
    }
}

/// OTLP, `Span.SpanKind`.
fn kind(number: u32) -> SpanKind {
    match number {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}
