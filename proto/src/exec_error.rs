//! Encodes an `ExecError` in gRPC's richer error model: a `google.rpc.Status` in `grpc-status-details-bin`
//! (<https://google.aip.dev/193>), so that tools of every language can read it.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;

use crate::exec::ExecError;

const NAME: &str = "baton.exec.v1.ExecError";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

impl ExecError {
    /// The details of a status of this gRPC code, whose message is this error's.
    pub fn to_details(&self, code: i32) -> Bytes {
        let status = Status {
            code,
            message: self.message.clone(),
            details: vec![Any {
                type_url: format!("type.googleapis.com/{NAME}"),
                value: self.encode_to_vec(),
            }],
        };
        status.encode_to_vec().into()
    }

    /// The first `ExecError` in the details of a status. `None` if there is none, or if they are no
    /// `google.rpc.Status`.
    pub fn from_details(details: &[u8]) -> Option<Self> {
        let status = Status::decode(details).ok()?;
        let is_ours = |any: &&Any| any.type_url.rsplit('/').next() == Some(NAME);
        let any = status.details.iter().find(is_ours)?;
        Self::decode(&*any.value).ok()
    }
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::exec_error::Kind;

    /// gRPC's `ABORTED`.
    const ABORTED: i32 = 10;

    fn error() -> ExecError {
        ExecError {
            kind: Kind::Lost.into(),
            message: "m".into(),
        }
    }

    #[test]
    fn the_details_are_stable() {
        let details = error().to_details(ABORTED);
        let mut expected =
            b"\x08\x0a\x12\x01m\x1a\x34\x0a\x2btype.googleapis.com/baton.exec.v1.ExecError".to_vec();
        expected.extend_from_slice(b"\x12\x05\x08\x07\x12\x01m");
        assert_eq!(details, expected);
        assert_eq!(ExecError::from_details(&details), Some(error()));
    }

    #[test]
    fn other_details_are_passed_over() {
        let ours = Status::decode(error().to_details(ABORTED)).unwrap();
        let mut status = ours.clone();
        status.details.insert(
            0,
            Any {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
                value: vec![0xff],
            },
        );
        assert_eq!(ExecError::from_details(&status.encode_to_vec()), Some(error()));
        for other in [&b""[..], b"\xff", &error().encode_to_vec()] {
            assert_eq!(ExecError::from_details(other), None);
        }
    }
}
