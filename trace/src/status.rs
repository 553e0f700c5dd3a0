//! Names of gRPC status codes, and which codes are errors of the client or of the server.

use std::borrow::Cow;

/// How a call ended: a gRPC status code, 0 for OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcStatus(pub i32);

impl RpcStatus {
    /// OK.
    pub const OK: Self = Self(0);
    /// CANCELLED.
    pub const CANCELLED: Self = Self(1);
    /// DEADLINE_EXCEEDED.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// UNIMPLEMENTED.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// INTERNAL.
    pub const INTERNAL: Self = Self(13);
    /// UNAVAILABLE.
    pub const UNAVAILABLE: Self = Self(14);
    /// UNAUTHENTICATED.
    pub const UNAUTHENTICATED: Self = Self(16);
}

/// The names in code order (grpc `doc/statuscodes.md`).
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a status; the number, if gRPC does not define it.
pub fn name(status: RpcStatus) -> Cow<'static, str> {
    let known = usize::try_from(status.0).ok().and_then(|code| NAMES.get(code));
    match known {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(status.0.to_string()),
    }
}

/// The status with this [`name`].
pub fn from_name(name: &str) -> Option<RpcStatus> {
    match NAMES.iter().position(|known| *known == name) {
        Some(code) => i32::try_from(code).ok().map(RpcStatus),
        None => name.parse().ok().map(RpcStatus),
    }
}

/// Whether the caller's span is an error: anything but OK (OpenTelemetry's gRPC conventions).
pub fn is_client_error(status: RpcStatus) -> bool {
    status.0 != 0
}

/// Whether the SERVER span is an error: only if the server is at fault (OpenTelemetry's gRPC conventions).
pub fn is_server_error(status: RpcStatus) -> bool {
    !(0..=16).contains(&status.0) || matches!(status.0, 2 | 4 | 12 | 13 | 14 | 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_names_round_trip() {
        for code in -2..20 {
            assert_eq!(from_name(&name(RpcStatus(code))), Some(RpcStatus(code)));
        }
        assert_eq!(from_name("FINE"), None);
    }

    #[test]
    fn a_missing_file_is_the_callers_error_and_not_the_servers() {
        let not_found = from_name("NOT_FOUND").unwrap();
        assert!(is_client_error(not_found) && !is_server_error(not_found));
        let internal = from_name("INTERNAL").unwrap();
        assert!(is_client_error(internal) && is_server_error(internal));
        assert!(!is_client_error(RpcStatus(0)) && !is_server_error(RpcStatus(0)));
        assert!(is_server_error(RpcStatus(99)));
    }
}
