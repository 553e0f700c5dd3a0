//! Fuzzes carriers: an extracted context conforms to the grammar and the limits of both specifications, and passes
//! through every carrier unchanged.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use baton_fuzz::{Input, Script, Target};
use baton_proto::exec::TraceCarrier;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;

use super::*;
use crate::limits::{
    BAGGAGE_BYTES_MAX, BAGGAGE_MEMBERS_MAX, TRACESTATE_BYTES_MAX, TRACESTATE_KEY_MAX, TRACESTATE_MEMBERS_MAX,
    TRACESTATE_VALUE_MAX,
};

/// Headers. The input: names and values.
pub(crate) const HEADERS: Target = Target {
    name: "w3c-headers",
    run: run_headers,
    seeds: header_seeds,
};

/// Binary carriers. The input: an encoded `TraceCarrier`.
pub(crate) const CARRIER: Target = Target {
    name: "w3c-carrier",
    run: run_carrier,
    seeds: carrier_seeds,
};

fn run_headers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut headers = HeaderMap::new();
    while !input.is_empty() {
        let name = ["traceparent", "tracestate", "baggage"][usize::from(input.u8() % 3)];
        let value = input.chunk();
        let of_environment = TraceContext::from_environment(|variable| {
            let is_it = variable.eq_ignore_ascii_case(name);
            is_it.then(|| OsString::from_vec(value.to_vec()))
        });
        check(&of_environment);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let extracted = TraceContext::extract(&headers);
    if headers.get_all("traceparent").iter().count() > 1 {
        assert_eq!(extracted.context, None, "one of two parents was believed");
    }
    check(&extracted);
}

fn run_carrier(bytes: &[u8]) {
    if let Ok(carrier) = TraceCarrier::decode(bytes) {
        check(&TraceContext::from_carrier(&carrier));
    }
    if let Some(parent) = Traceparent::decode_binary(bytes) {
        assert_eq!(Traceparent::decode_binary(&parent.encode_binary()), Some(parent));
        assert_eq!(parent.encode_binary()[..24], bytes[..24]);
    }
}

/// The extracted context is valid, within its limits, and unchanged after injection and extraction.
fn check(extracted: &ExtractedContext) {
    let baggage = &extracted.baggage;
    assert!(baggage.as_str().len() <= BAGGAGE_BYTES_MAX);
    assert!(baggage.members().count() <= BAGGAGE_MEMBERS_MAX);
    assert_eq!(Baggage::parse(baggage.as_str()), *baggage);
    for member in baggage.members() {
        assert!(!member.key.is_empty());
        let value = member.value();
        assert!(baggage.value(member.key).is_some(), "{value:?}");
    }
    let mut headers = HeaderMap::new();
    extracted.inject(&mut headers);
    assert_eq!(TraceContext::extract(&headers), *extracted, "headers");
    let Some(context) = &extracted.context else {
        return;
    };
    assert_eq!(context.baggage, *baggage);
    assert_ne!(context.trace_id, TraceId::INVALID);
    assert_ne!(context.span_id, SpanId::INVALID);
    assert_eq!(context.flags.to_u8() & !0b11, 0, "an unknown flag travels on");
    let state = &context.tracestate;
    assert!(state.as_str().len() <= TRACESTATE_BYTES_MAX);
    assert!(state.members().count() <= TRACESTATE_MEMBERS_MAX);
    for (key, value) in state.members() {
        assert!((1..=TRACESTATE_KEY_MAX).contains(&key.len()));
        assert!((1..=TRACESTATE_VALUE_MAX).contains(&value.len()));
    }
    let put = state.put("baton", "1").expect("a good member");
    assert!(put.as_str().len() <= TRACESTATE_BYTES_MAX && put.members().count() <= TRACESTATE_MEMBERS_MAX);
    assert_eq!(put.value("baton"), Some("1"));
    assert_eq!(
        TraceContext::from_carrier(&context.to_carrier()),
        *extracted,
        "protobuf"
    );
    let environment = context.to_environment();
    let back = TraceContext::from_environment(|name| {
        let (_, value) = environment.iter().find(|(variable, _)| *variable == name)?;
        value.clone().map(OsString::from)
    });
    assert_eq!(back, *extracted, "environment");
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";

fn header_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |values: &[(u8, &str)]| {
        let script = values.iter().fold(Script::default(), |script, (name, value)| {
            script.u8(*name).chunk(value.as_bytes())
        });
        script.done()
    };
    let future = format!("cc{}-what-the-future-will-be-like", &PARENT[2..]);
    let many: Vec<_> = (0..40).map(|n| format!("v{n}={}", "x".repeat(n))).collect();
    let long: Vec<_> = (0..32).map(|n| format!("v{n}={}", "x".repeat(250))).collect();
    let bags: Vec<_> = (0..70).map(|n| format!("k{n}={}", "y".repeat(180))).collect();
    vec![
        (
            "all",
            of(&[
                (0, PARENT),
                (1, "rojo=00f0, congo=t61rc\t,,"),
                (2, "user=Am%C3%A9lie ; p=1;q , x = y"),
            ]),
        ),
        ("future", of(&[(0, &future)])),
        ("two-parents", of(&[(0, PARENT), (0, PARENT)])),
        ("uppercase", of(&[(0, &PARENT.to_uppercase())])),
        (
            "zero",
            of(&[(0, "00-00000000000000000000000000000000-00f067aa0ba902b7-01")]),
        ),
        ("ff", of(&[(0, &format!("ff{}", &PARENT[2..]))])),
        (
            "states",
            of(&[(0, PARENT), (1, "a=1"), (1, "b=2,a=3"), (1, "fw529a3039@dt=x")]),
        ),
        ("many", of(&[(0, PARENT), (1, &many.join(","))])),
        ("long", of(&[(0, PARENT), (1, &long.join(" , "))])),
        ("bags", of(&[(2, &bags.join(",")), (2, "bad member,good=1")])),
        ("bad-percent", of(&[(2, "a=%,b=%ff%zz,c=%e2%82")])),
    ]
}

fn carrier_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let parent = Traceparent::parse(PARENT).map(|parent| parent.encode_binary().to_vec());
    let parent = parent.expect("a good traceparent");
    let carrier = |traceparent: &[u8], tracestate: &str, baggage: &str| {
        let carrier = TraceCarrier {
            traceparent: traceparent.to_vec().into(),
            tracestate: tracestate.into(),
            baggage: baggage.into(),
        };
        carrier.encode_to_vec()
    };
    vec![
        ("whole", carrier(&parent, "a=1,b=2", "k=v;p")),
        ("short", carrier(&parent[1..], "a=1", "k=v")),
        ("zero", carrier(&[0; 25], "a=1", "k=v")),
        ("flags", carrier(&[&parent[..24], &[0xff]].concat(), "", "")),
        ("binary", parent),
        ("bad-lists", carrier(&[1; 25], "A=1,=", "é,=,a b=c")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_headers_are_taken_beyond_the_grammar_or_change_on_their_way() {
        baton_fuzz::replay(&HEADERS);
    }

    #[test]
    fn no_binary_carrier_is_taken_beyond_the_grammar_or_changes_on_its_way() {
        baton_fuzz::replay(&CARRIER);
    }
}
