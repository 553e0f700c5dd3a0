//! `ExecError` in the details of a status.

use bytes::Bytes;

use crate::error_details;
use crate::exec::ExecError;

const NAME: &str = "baton.exec.v1.ExecError";

impl ExecError {
    /// The details of a status of this gRPC code, whose message is this error's.
    pub fn to_details(&self, code: i32) -> Bytes {
        error_details::encode(NAME, self, code, &self.message)
    }

    /// The first `ExecError` in the details of a status. `None` if there is none, or if they are no
    /// `google.rpc.Status`.
    pub fn from_details(details: &[u8]) -> Option<Self> {
        error_details::decode(NAME, details)
    }
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Any;

    use super::*;
    use crate::error_details::Status;
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
