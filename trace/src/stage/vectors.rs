//! `docs/vectors/span-ids.json`.

use baton_vectors::{Case, Vector, check};

use super::*;

fn cases() -> Vec<Case> {
    let trace = TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    let call = SpanId::from(0x00f0_67aa_0ba9_02b7);
    // The reference's own key and message.
    let reference = (
        TraceId::from(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f),
        SpanId::from(0x0001_0203_0405_0607),
    );
    let of = |name: &str, (trace, call): (TraceId, SpanId), stage: u8, attempt: u8| {
        let id = span_id(trace, call, StageId(stage), attempt);
        Case::new("span id", name)
            .bytes("trace_id", trace.to_bytes())
            .bytes("call_id", call.to_bytes())
            .with("stage", stage)
            .with("attempt", attempt)
            .bytes("span_id", id.to_bytes())
    };
    vec![
        of("rpc", (trace, call), 13, 0),
        of("process", (trace, call), 32, 0),
        of("process.wait", (trace, call), 37, 0),
        of("a registered stage, second attempt", (trace, call), 200, 1),
        of("the vector of the SipHash reference", reference, 8, 9),
    ]
}

fn decode(vector: Vector<'_>) {
    match vector.kind() {
        "span id" => {
            let trace = TraceId::from_bytes(vector.array("trace_id"));
            let call = SpanId::from_bytes(vector.array("call_id"));
            let stage = StageId(u8::try_from(vector.number("stage")).unwrap());
            let attempt = u8::try_from(vector.number("attempt")).unwrap();
            let id = span_id(trace, call, stage, attempt);
            assert_eq!(id.to_bytes(), vector.array("span_id"));
        }
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_span_ids_hold() {
    check(
        "span-ids.json",
        "The span ids of a call's stages, section 8: SipHash-2-4 of the call id, the stage and the attempt under the trace id.",
        &cases(),
        decode,
    );
}
