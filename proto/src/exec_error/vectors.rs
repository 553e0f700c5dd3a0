//! `docs/vectors/status.json`: the `google.rpc.Status` in `grpc-status-details-bin`.

use baton_vectors::{Case, Json, Vector, check, hex, list, object};
use data_encoding::BASE64;
use prost::Message as _;
use prost_types::Any;

use super::*;
use crate::error_details::Status;
use crate::exec::exec_error::Kind;

const OURS: &str = "type.googleapis.com/baton.exec.v1.ExecError";

fn encoded(status: &Status) -> Vec<u8> {
    status.encode_to_vec()
}

/// The members of every case that decodes.
fn described(case: Case, status: &Status, kind: Kind, text: &str) -> Case {
    let any = |any: &Any| {
        object([
            ("type_url", any.type_url.as_str().into()),
            ("value", hex(&any.value)),
        ])
    };
    let error = Json::Object(vec![
        ("kind", kind.as_str_name().into()),
        ("number", i32::from(kind).into()),
        ("message", text.into()),
    ]);
    case.bytes("bytes", encoded(status))
        .with("header", BASE64.encode(&encoded(status)))
        .with("code", status.code)
        .with("message", status.message.as_str())
        .with("details", list(status.details.iter().map(any)))
        .with("exec_error", error)
}

fn status(kind: Kind, code: i32, text: &str) -> Status {
    let error = ExecError {
        kind: kind.into(),
        message: text.into(),
    };
    Status::decode(error.to_details(code)).unwrap()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, code, text) in [
        (Kind::CommandNotFound, 5, "not found"),
        (Kind::Lost, 10, "another epoch"),
        (Kind::TooManyProcesses, 8, "at the limit: 1,024 processes"),
    ] {
        let case = Case::new(
            "status",
            &format!("{} with gRPC status {code}", kind.as_str_name()),
        );
        cases.push(described(case, &status(kind, code, text), kind, text));
    }
    // As another implementation may write it: details before ours, which a reader skips.
    let mut others = status(Kind::BadCwd, 9, "no such directory");
    let retry = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        // retry_delay: 2 s.
        value: vec![0x0a, 2, 8, 2],
    };
    let info = Any {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
        // reason: "CWD", domain: "example.org".
        value: b"\x0a\x03CWD\x12\x0bexample.org".to_vec(),
    };
    others.details.splice(0..0, [retry, info]);
    let case = Case::new("status", "RetryInfo and ErrorInfo before the ExecError");
    cases.push(described(case, &others, Kind::BadCwd, "no such directory"));
    for (name, bytes) in [
        ("nothing", Vec::new()),
        (
            "a cut message",
            encoded(&status(Kind::Lost, 10, "m"))[..20].to_vec(),
        ),
        ("a status without details", b"\x08\x0a\x12\x01m".to_vec()),
    ] {
        cases.push(Case::new("no exec error", name).bytes("bytes", bytes));
    }
    cases
}

fn decode(vector: Vector<'_>) {
    let bytes = vector.bytes("bytes");
    match vector.kind() {
        "status" => {
            assert_eq!(vector.text("header"), BASE64.encode(&bytes));
            let details = vector.list("details");
            let details = details.iter().map(|any| Any {
                type_url: any.text("type_url").into(),
                value: any.bytes("value"),
            });
            let status = Status {
                code: vector.signed("code") as i32,
                message: vector.text("message").into(),
                details: details.collect(),
            };
            assert_eq!(Status::decode(&bytes[..]), Ok(status.clone()));
            assert_eq!(encoded(&status), bytes);
            let wanted = vector.object("exec_error");
            let error = ExecError::from_details(&bytes).unwrap();
            assert_eq!(error.kind().as_str_name(), wanted.text("kind"));
            assert_eq!(i64::from(error.kind), wanted.signed("number"));
            assert_eq!(error.message, wanted.text("message"));
            if let [ours] = &status.details[..] {
                assert_eq!(ours.type_url, OURS);
                assert_eq!(
                    error.to_details(status.code),
                    bytes,
                    "as the exec-server writes it"
                );
            }
        }
        "no exec error" => assert_eq!(ExecError::from_details(&bytes), None),
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_a_status_hold() {
    check(
        "status.json",
        "`google.rpc.Status` in the metadata `grpc-status-details-bin` of Trailers, section 7. `bytes` is the message, `header` \
         its base64. `exec_error` is the detail that a client reads; it skips details of other types.",
        &cases(),
        decode,
    );
}
