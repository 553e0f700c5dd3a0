use baton_trace::stage::transport;

use super::*;

fn sample() -> Trace {
    let mut trace = Trace::new(TraceId::from(42));
    let resource = trace
        .add_resource(3, [("service.name", Value::Text("baton-client"))].into_iter())
        .unwrap();
    let link = Link {
        trace: TraceId::from(9),
        span: SpanId::from(8),
        flags: 1,
        trace_state: "a=1",
    };
    let attributes = [
        (attribute::STAGE, Value::Text("call")),
        ("n", Value::Int(-3)),
        ("b", Value::Bool(true)),
        ("d", Value::Double(0.5)),
        ("o", Value::Other("x, y")),
    ];
    let new = NewSpan {
        id: 7,
        parent: 5,
        start_ns: 10,
        end_ns: 20,
        flags: 0x301,
        kind: SpanKind::Client,
        is_error: true,
        name: "make",
        trace_state: "v=2",
    };
    trace
        .add_span(&new, resource, attributes.into_iter(), [link].into_iter())
        .unwrap();
    let unknown = [(attribute::STAGE, Value::Text("hologram"))];
    let new = NewSpan {
        id: 8,
        ..NewSpan::default()
    };
    trace
        .add_span(&new, resource, unknown.into_iter(), std::iter::empty())
        .unwrap();
    trace
}

#[test]
fn a_trace_gives_back_what_was_added() {
    let trace = sample();
    let [call, unknown] = trace.spans() else { panic!() };
    assert_eq!(call.stage, Some(transport::CALL));
    assert_eq!((trace.name(call), trace.trace_state(call)), ("make", "v=2"));
    assert_eq!(trace.integer(call, "n"), Some(-3));
    assert_eq!(trace.attribute(call, "o"), Some(Value::Other("x, y")));
    assert_eq!(trace.attributes(call).count(), 4);
    assert_eq!(trace.resource_text(call, "service.name"), Some("baton-client"));
    assert_eq!(trace.links(call).next().unwrap().trace_state, "a=1");
    assert_eq!(
        (unknown.stage, trace.stage_name(unknown)),
        (Some(StageId(0)), Some("hologram"))
    );
}

#[test]
fn a_span_without_id_is_refused() {
    let mut trace = Trace::new(TraceId::from(42));
    let none = trace.add_span(&NewSpan::default(), 0, std::iter::empty(), std::iter::empty());
    assert_eq!(none, None);
}

#[test]
fn a_spilled_trace_comes_back_whole() {
    let mut bytes = Vec::new();
    sample().encode(&mut bytes);
    let mut left = &bytes[..];
    assert_eq!(Trace::decode(&mut left), Ok(sample()));
    assert_eq!(left, b"");
    for len in 0..bytes.len() {
        assert_eq!(Trace::decode(&mut &bytes[..len]), Err(SpillError), "{len}");
    }
}

#[test]
fn no_damage_of_the_temporary_file_panics() {
    let mut bytes = Vec::new();
    sample().encode(&mut bytes);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let Ok(trace) = Trace::decode(&mut &damaged[..]) else {
                continue;
            };
            for span in trace.spans() {
                let _ = (trace.name(span), trace.stage_name(span), trace.trace_state(span));
                let (attributes, links) = (trace.attributes(span).count(), trace.links(span).count());
                assert!(attributes + links + trace.resource(span).count() < 20);
            }
        }
    }
}

#[test]
fn parts_of_a_trace_are_joined() {
    let mut joined = sample();
    joined.append(sample()).unwrap();
    let [first, .., last] = joined.spans() else {
        panic!()
    };
    assert_eq!(joined.spans().len(), 4);
    assert_eq!(
        (joined.name(first), joined.stage_name(last)),
        ("make", Some("hologram"))
    );
    let second = &joined.spans()[2];
    assert_eq!(joined.attribute(second, "o"), Some(Value::Other("x, y")));
    assert_eq!(joined.resource_text(second, "service.name"), Some("baton-client"));
    assert_eq!(joined.links(second).next().unwrap().trace_state, "a=1");
    assert_eq!(joined.remove_duplicates(), 2);
    assert_eq!(joined.spans(), sample().spans());
}

#[test]
fn spans_that_share_an_id_and_differ_are_kept() {
    let mut trace = Trace::new(TraceId::from(42));
    for end_ns in [5, 6, 5] {
        let new = NewSpan {
            id: 1,
            end_ns,
            ..NewSpan::default()
        };
        trace.add_span(&new, 0, std::iter::empty(), std::iter::empty());
    }
    assert_eq!(trace.remove_duplicates(), 1);
    let ends: Vec<_> = trace.spans().iter().map(|span| span.end_ns).collect();
    assert_eq!(ends, [5, 6]);
}
