//! What is decoded is what was encoded.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::part::{Attribute, Link, Span, SpanGroup, Value};

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    let texts = prop_oneof![
        "[a-z.]{0,12}",
        "[0-9a-f]{32}",
        "[a-z-]{0,5}[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9A-F]{32}",
        "\\PC{0,40}",
        Just("call".to_owned()),
        Just("baton.stage".to_owned()),
        Just("00000000000000000000000000000001".to_owned()),
    ];
    texts.prop_map(Cow::Owned)
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        text().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Bool),
        (-1e9..1e9).prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((text(), inner), 0..3).prop_map(Value::Map),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<Attribute<'static>>> {
    let stage = |name: &'static str| (Cow::Borrowed("baton.stage"), Value::Text(name.into()));
    let one = prop_oneof![
        3 => (text(), value()),
        1 => Just(stage("transit")),
        1 => Just((Cow::Borrowed("baton.attempt"), Value::Int(300))),
    ];
    prop::collection::vec(one, 0..4)
}

fn span() -> impl Strategy<Value = Span<'static>> {
    let ids = (0u64..6, 0u64..6, any::<bool>());
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), 0u32..6, 0u32..3);
    let texts = (text(), text(), text(), attributes());
    let links = prop::collection::vec((any::<u128>(), any::<u64>(), any::<u32>(), text()), 0..3);
    (ids, numbers, texts, links, 0u32..2).prop_map(|(ids, numbers, texts, links, dropped)| {
        let (id, parent, is_derived) = ids;
        let stage = baton_trace::stage::transport::TRANSIT;
        let of_call = baton_trace::stage::span_id(42.into(), parent.into(), stage, 0);
        let (start_ns, end_ns, flags, kind, status) = numbers;
        let (name, trace_state, status_message, attributes) = texts;
        Span {
            id: if is_derived {
                u64::from_be_bytes(of_call.to_bytes())
            } else {
                id
            },
            parent,
            start_ns,
            end_ns,
            flags,
            kind,
            status,
            status_message,
            name,
            trace_state,
            attributes,
            dropped_attributes: dropped,
            links: links
                .into_iter()
                .map(|(trace_id, span_id, flags, trace_state)| Link {
                    trace_id,
                    span_id,
                    flags,
                    trace_state,
                })
                .collect(),
        }
    })
}

fn part() -> impl Strategy<Value = TracePart<'static>> {
    let group = (attributes(), text(), text(), prop::collection::vec(span(), 0..20));
    let group = group.prop_map(|(resource, schema_url, scope, spans)| SpanGroup {
        resource,
        schema_url,
        scope,
        scope_version: "1".into(),
        spans,
    });
    prop::collection::vec(group, 0..4).prop_map(|groups| TracePart { trace_id: 42, groups })
}

proptest! {
    #[test]
    fn a_document_is_read_as_it_was_written(part in part()) {
        let mut document = Vec::new();
        encode(&part, &mut document);
        prop_assert_eq!(decode(42, &document), Ok(part));
        for cut in 0..document.len() {
            prop_assert!(decode(42, &document[..cut]).is_err());
        }
        document.push(0);
        prop_assert!(decode(42, &document).is_err());
    }
}

#[test]
fn the_ids_of_a_call_s_stages_are_not_stored() {
    const NAMES: crate::samples::Names = crate::samples::Names {
        programs: &["make"],
        labels: &["build"],
        threads: &["t"],
        hosts: &["laptop"],
    };
    let mut samples = crate::samples::Samples::new(NAMES, 2);
    let record = samples.record();
    let part = samples.part(&record);
    let mut document = Vec::new();
    encode(&part, &mut document);
    assert_eq!(part.spans(), 24);
    for span in part.groups.iter().flat_map(|group| &group.spans) {
        let id = span.id.to_be_bytes();
        let is_stored = document.windows(8).any(|window| window == id);
        assert_eq!(
            is_stored,
            span.name == part.groups[0].spans[0].name,
            "{}",
            span.name
        );
    }
}
