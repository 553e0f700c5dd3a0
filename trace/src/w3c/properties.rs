//! Properties for any input: nothing panics, no malformed value is accepted, and written values read back unchanged.
//! Also snapshots of the bytes of each carrier.

use std::collections::HashMap;
use std::ffi::OsString;

use baton_proto::exec::TraceCarrier;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use proptest::prelude::*;

use super::carrier::{BAGGAGE, TRACEPARENT, TRACESTATE};
use super::{Baggage, ExtractedContext, TraceContext, Traceparent, Tracestate};

fn tracestates() -> impl Strategy<Value = Tracestate> {
    let key = "[a-z0-9][a-z0-9_*/@-]{0,20}";
    let value = "[ -+\\--<>-~]{0,20}[!-+\\--<>-~]";
    prop::collection::vec((key, value), 0..=32).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        Tracestate::parse(members.join(",")).expect("members of the grammar")
    })
}

fn baggages() -> impl Strategy<Value = Baggage> {
    let key = "[!#-'*+.^_`|~0-9A-Za-z-]{1,12}";
    let properties = "|p|p;q=1| p = 1 ; q ";
    prop::collection::vec((key, any::<String>(), properties), 0..=64).prop_map(|members| {
        Baggage::from_members(
            members
                .iter()
                .map(|(key, value, properties)| (&**key, &**value, &**properties)),
        )
    })
}

fn contexts() -> impl Strategy<Value = TraceContext> {
    (1..=u128::MAX, 1..=u64::MAX, 0..4_u8, tracestates(), baggages()).prop_map(
        |(trace_id, span_id, flags, tracestate, baggage)| TraceContext {
            trace_id: TraceId::from(trace_id),
            span_id: SpanId::from(span_id),
            flags: TraceFlags::new(flags),
            tracestate,
            baggage,
        },
    )
}

/// Bytes that are mostly a small mutation of a valid value.
fn nearly(valid: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let changed =
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4).prop_map(move |changes| {
            let mut bytes = valid.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        });
    prop_oneof![
        changed,
        prop::collection::vec(any::<u8>(), 0..200),
        any::<String>().prop_map(String::into_bytes)
    ]
}

fn hold(extracted: &ExtractedContext) {
    if let Some(context) = &extracted.context {
        assert_ne!(context.trace_id, TraceId::INVALID);
        assert_ne!(context.span_id, SpanId::INVALID);
        assert_eq!(context.flags.to_u8() & !0b11, 0);
        assert_eq!(context.baggage, extracted.baggage);
    }
    // The extracted context is injected and extracted unchanged, so every header value is valid.
    let context = extracted.clone().continue_or_start(true);
    let mut headers = HeaderMap::new();
    context.inject(&mut headers);
    assert_eq!(TraceContext::extract(&headers).context, Some(context));
}

proptest! {
    #[test]
    fn what_is_injected_is_extracted(context in contexts()) {
        let expected = ExtractedContext { baggage: context.baggage.clone(), context: Some(context.clone()) };

        let mut headers = HeaderMap::new();
        context.inject(&mut headers);
        prop_assert_eq!(&TraceContext::extract(&headers), &expected);
        prop_assert!(headers.values().all(|value| !value.is_empty()));

        let variables: HashMap<_, _> = context.to_environment().into_iter().collect();
        let lookup = |name: &str| variables[name].clone().map(OsString::from);
        prop_assert_eq!(&TraceContext::from_environment(lookup), &expected);

        prop_assert_eq!(&TraceContext::from_carrier(&context.to_carrier()), &expected);
    }

    #[test]
    fn arbitrary_headers_never_break_anything(
        traceparent in nearly("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        more in prop::option::of(nearly("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")),
        tracestate in prop::collection::vec(nearly("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"), 0..3),
        baggage in prop::collection::vec(nearly("userId=alice, serverNode = DF%2028;p1;p2=3"), 0..3),
    ) {
        let mut headers = HeaderMap::new();
        let parents = std::iter::once(traceparent).chain(more).map(|value| (TRACEPARENT, value));
        let states = tracestate.into_iter().map(|value| (TRACESTATE, value));
        let baggages = baggage.into_iter().map(|value| (BAGGAGE, value));
        for (name, value) in parents.chain(states).chain(baggages) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        hold(&TraceContext::extract(&headers));
    }

    #[test]
    fn arbitrary_messages_never_break_anything(
        traceparent in prop::collection::vec(any::<u8>(), 0..30),
        tracestate in any::<String>(),
        baggage in any::<String>(),
    ) {
        hold(&TraceContext::from_carrier(&TraceCarrier { traceparent: traceparent.into(), tracestate, baggage }));
    }

    #[cfg(unix)]
    #[test]
    fn arbitrary_environments_never_break_anything(
        traceparent in nearly("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        tracestate in nearly("rojo=00f067aa0ba902b7"),
        baggage in nearly("userId=alice"),
    ) {
        use std::os::unix::ffi::OsStringExt;
        let lookup = |name: &str| Some(OsString::from_vec(match name {
            "TRACEPARENT" => traceparent.clone(),
            "TRACESTATE" => tracestate.clone(),
            _ => baggage.clone(),
        }));
        hold(&TraceContext::from_environment(lookup));
    }

    #[test]
    fn a_traceparent_is_read_back_from_both_forms(trace in any::<u128>(), span in any::<u64>(), flags in any::<u8>()) {
        let made = Traceparent::new(trace.into(), span.into(), TraceFlags::new(flags));
        prop_assert_eq!(made.is_some(), trace != 0 && span != 0);
        if let Some(made) = made {
            prop_assert_eq!(Traceparent::parse(made.encode()), Some(made));
            prop_assert_eq!(Traceparent::parse(made.to_string()), Some(made));
            prop_assert_eq!(Traceparent::decode_binary(&made.encode_binary()), Some(made));
        }
    }

    #[test]
    fn putting_a_member_leaves_a_list_that_parses(before in tracestates(), key in "[a-z]{1,3}", value in "[!-+]{1,99}") {
        let after = before.put(&key, &value).unwrap();
        prop_assert_eq!(Tracestate::parse(after.as_str()), Some(after.clone()));
        prop_assert_eq!(after.members().next(), Some((&*key, &*value)));
        let mut others: Vec<_> = before.members().filter(|member| member.0 != key).collect();
        others.truncate(31);
        prop_assert_eq!(after.members().skip(1).collect::<Vec<_>>(), others);
    }

    #[test]
    fn a_baggage_value_reads_back_decoded(value in any::<String>()) {
        prop_assume!(value.len() < 2000);
        let baggage = Baggage::from_members([("key", value.as_str(), "")]);
        prop_assert_eq!(baggage.value("key").unwrap(), value);
    }
}

fn example() -> TraceContext {
    TraceContext {
        trace_id: TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
        span_id: SpanId::from(0x00f0_67aa_0ba9_02b7),
        flags: TraceFlags::new(3),
        tracestate: Tracestate::parse("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE").unwrap(),
        baggage: Baggage::from_members([("user", "alice b", "p=1")]),
    }
}

fn bare() -> TraceContext {
    TraceContext {
        tracestate: Tracestate::default(),
        baggage: Baggage::default(),
        ..example()
    }
}

#[test]
fn grpc_snapshot() {
    let mut headers = HeaderMap::new();
    // Stale and doubled values are replaced.
    for name in [TRACEPARENT, TRACESTATE, BAGGAGE] {
        headers.append(&name, HeaderValue::from_static("stale"));
        headers.append(&name, HeaderValue::from_static("staler"));
    }
    let sent = |headers: &HeaderMap| {
        let text =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = headers.iter().map(text).collect();
        lines.sort();
        lines
    };
    example().inject(&mut headers);
    assert_eq!(
        sent(&headers),
        [
            "baggage: user=alice%20b;p=1",
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            "tracestate: rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        ]
    );
    bare().inject(&mut headers);
    assert_eq!(
        sent(&headers),
        ["traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"]
    );
}

#[test]
fn environment_snapshot() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        example().to_environment(),
        [
            ("TRACEPARENT", some(traceparent)),
            ("TRACESTATE", some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")),
            ("BAGGAGE", some("user=alice%20b;p=1")),
        ]
    );
    assert_eq!(
        bare().to_environment(),
        [
            ("TRACEPARENT", some(traceparent)),
            ("TRACESTATE", None),
            ("BAGGAGE", None)
        ]
    );
}

#[test]
fn protobuf_snapshot() {
    let carrier = example().to_carrier();
    assert_eq!(
        &carrier.traceparent[..],
        b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36\x00\xf0\x67\xaa\x0b\xa9\x02\xb7\x03"
    );
    assert_eq!(carrier.tracestate, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    assert_eq!(carrier.baggage, "user=alice%20b;p=1");
}

#[test]
fn a_carrier_of_another_length_holds_no_context() {
    let whole = example().to_carrier();
    for length in (0..25).chain([26]) {
        let mut bytes = whole.traceparent.to_vec();
        bytes.resize(length, 1);
        let carrier = TraceCarrier {
            traceparent: bytes.into(),
            ..whole.clone()
        };
        let extracted = TraceContext::from_carrier(&carrier);
        assert_eq!(extracted.context, None, "{length} bytes");
        assert_eq!(extracted.baggage, example().baggage);
    }
}

#[test]
fn a_context_with_a_zero_id_is_never_sent() {
    for broken in [
        TraceContext {
            trace_id: TraceId::INVALID,
            ..example()
        },
        TraceContext {
            span_id: SpanId::INVALID,
            ..example()
        },
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static("stale"));
        broken.inject(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[BAGGAGE], "user=alice%20b;p=1");
        let set: Vec<_> = broken
            .to_environment()
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .collect();
        assert_eq!(set, [("BAGGAGE", Some("user=alice%20b;p=1".to_owned()))]);
        let carrier = broken.to_carrier();
        assert!(carrier.traceparent.is_empty() && carrier.tracestate.is_empty());
    }
}

#[test]
fn unknown_flags_are_not_sent() {
    let context = TraceContext {
        flags: TraceFlags::new(0xff),
        ..bare()
    };
    let mut headers = HeaderMap::new();
    context.inject(&mut headers);
    assert_eq!(
        headers[TRACEPARENT],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"
    );
    assert_eq!(context.to_carrier().traceparent[24], 3);
}
