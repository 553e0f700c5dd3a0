//! `FilesError` in the details of a status.

use bytes::Bytes;

use crate::error_details;
use crate::files::FilesError;

const NAME: &str = "baton.files.v1.FilesError";

impl FilesError {
    /// The details of a status of this gRPC code, whose message is this error's.
    pub fn to_details(&self, code: i32) -> Bytes {
        error_details::encode(NAME, self, code, &self.message)
    }

    /// The first `FilesError` in the details of a status. `None` if there is none, or if they are no
    /// `google.rpc.Status`.
    pub fn from_details(details: &[u8]) -> Option<Self> {
        error_details::decode(NAME, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{ExecError, exec_error};
    use crate::files::files_error::Kind;

    #[test]
    fn the_details_are_stable_and_those_of_exec_are_passed_over() {
        let error = FilesError {
            kind: Kind::NotFound.into(),
            message: "m".into(),
        };
        let details = error.to_details(5);
        let mut expected =
            b"\x08\x05\x12\x01m\x1a\x36\x0a\x2dtype.googleapis.com/baton.files.v1.FilesError".to_vec();
        expected.extend_from_slice(b"\x12\x05\x08\x03\x12\x01m");
        assert_eq!(details, expected);
        assert_eq!(FilesError::from_details(&details), Some(error));
        let other = ExecError {
            kind: exec_error::Kind::Lost.into(),
            message: "m".into(),
        };
        assert_eq!(FilesError::from_details(&other.to_details(5)), None);
    }
}
