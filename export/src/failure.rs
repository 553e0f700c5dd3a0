//! Why spans were not delivered to a collector, and what to do about it.

use std::borrow::Cow;
use std::fmt;

use http::Uri;
use tonic::{Code, Status};

use baton_trace::status;
use baton_trace::status::RpcStatus;
use baton_trace::text::printable;

/// Why a delivery failed. Its [`Display`](fmt::Display) is a clause that says what to do, if anything can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFailure {
    /// Scheme, host and port.
    endpoint: String,
    kind: FailureKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Connecting failed with this error.
    Connect(String),
    /// The connection is not established yet.
    Connecting,
    /// Connected, but the collector has not responded yet.
    Late,
    /// The connection was lost.
    Lost(String),
    /// The endpoint speaks HTTP/1.
    Http1,
    /// The collector responded with this code and message.
    Refused(Code, String),
    /// The collector rejected a part of the spans.
    Rejected(String),
}

/// Scheme, host and port of a collector, for messages. User and path may be secret.
pub(super) fn collector_name(endpoint: &Uri) -> String {
    let host = endpoint.host().unwrap_or_default();
    let port = endpoint
        .port_u16()
        .map_or(String::new(), |port| format!(":{port}"));
    format!("http://{host}{port}")
}

impl ExportFailure {
    pub(super) fn new(endpoint: &Uri, kind: FailureKind) -> Self {
        Self {
            endpoint: collector_name(endpoint),
            kind,
        }
    }

    /// From a gRPC status: the peer's response, or a lost connection.
    pub(super) fn from_status(endpoint: &Uri, status: &Status) -> Self {
        let kind = match std::error::Error::source(status) {
            // tonic generated this status from a transport error; a peer's status has no source.
            Some(source) => FailureKind::Lost(innermost(source)),
            None => FailureKind::Refused(status.code(), status.message().to_owned()),
        };
        Self::new(endpoint, kind)
    }

    /// Whether a later attempt may succeed (OTLP specification, "OTLP/gRPC response", failures).
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            FailureKind::Connect(_)
            | FailureKind::Connecting
            | FailureKind::Late
            | FailureKind::Lost(_)
            | FailureKind::Http1 => true,
            FailureKind::Refused(code, _) => matches!(
                code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            ),
            FailureKind::Rejected(_) => false,
        }
    }

    /// Whether an immediate retry would fail too: nothing listens on the endpoint, or another protocol.
    pub(super) fn is_immediate(&self) -> bool {
        matches!(self.kind, FailureKind::Connect(_) | FailureKind::Http1)
    }

    /// Whether it concerns one request only, so that another request may succeed.
    pub(super) fn is_about_request(&self) -> bool {
        let of_service = [Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented];
        matches!(&self.kind, FailureKind::Refused(code, _) if !self.is_retryable() && !of_service.contains(code))
    }

    /// Whether the collector is only slower than the wait. The next run sends the remaining spans.
    pub fn is_slow(&self) -> bool {
        matches!(self.kind, FailureKind::Late)
    }
}

impl fmt::Display for ExportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, kind } = self;
        match kind {
            FailureKind::Connect(reason) => write!(
                f,
                "cannot connect to {endpoint} ({}): start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT",
                printable(reason)
            ),
            FailureKind::Connecting => write!(
                f,
                "{endpoint} does not answer: see OTEL_EXPORTER_OTLP_ENDPOINT, and firewalls on the way"
            ),
            FailureKind::Late => write!(f, "{endpoint} did not answer in time"),
            FailureKind::Lost(reason) => {
                write!(f, "the connection to {endpoint} broke ({})", printable(reason))
            }
            FailureKind::Http1 => write!(
                f,
                "{endpoint} speaks HTTP/1, not gRPC: use the gRPC port, usually 4317"
            ),
            FailureKind::Refused(code @ (Code::Unauthenticated | Code::PermissionDenied), message) => write!(
                f,
                "{endpoint} refused them ({}{}): correct the credentials in OTEL_EXPORTER_OTLP_HEADERS",
                name(*code),
                PeerMessage(message)
            ),
            FailureKind::Refused(Code::Unimplemented, message) => write!(
                f,
                "{endpoint} takes no traces over gRPC ({}{}): is it an OTLP collector's gRPC port, usually 4317?",
                name(Code::Unimplemented),
                PeerMessage(message)
            ),
            FailureKind::Refused(code, message) => {
                write!(
                    f,
                    "{endpoint} refused them ({}{})",
                    name(*code),
                    PeerMessage(message)
                )
            }
            FailureKind::Rejected(message) => {
                write!(f, "{endpoint} rejected a part of them{}", PeerMessage(message))
            }
        }
    }
}

fn name(code: Code) -> Cow<'static, str> {
    status::name(RpcStatus(code.into()))
}

/// A peer's message, if any, sanitized for a terminal and truncated.
struct PeerMessage<'a>(&'a str);

impl fmt::Display for PeerMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        let text = printable(self.0);
        if text.trim().is_empty() {
            return Ok(());
        }
        let short: String = text.chars().take(LONGEST).collect();
        write!(f, ": {short}")
    }
}

/// The innermost source is the most specific: `Connection refused`, not `transport error`.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: FailureKind) -> ExportFailure {
        ExportFailure::new(&"http://me:secret@host:4318/path".parse().unwrap(), kind)
    }

    #[test]
    fn the_hint_fits_the_fault_and_shows_no_credentials() {
        for (kind, hint) in [
            (
                FailureKind::Connect("Connection refused".into()),
                "start the collector",
            ),
            (FailureKind::Connecting, "does not answer"),
            (
                FailureKind::Http1,
                "speaks HTTP/1, not gRPC: use the gRPC port, usually 4317",
            ),
            (
                FailureKind::Refused(Code::PermissionDenied, "no\x1b[2J".into()),
                "PERMISSION_DENIED: no[2J): correct the credentials in OTEL_EXPORTER_OTLP_HEADERS",
            ),
            (
                FailureKind::Refused(Code::Unauthenticated, String::new()),
                "(UNAUTHENTICATED): correct the credentials",
            ),
            (
                FailureKind::Refused(Code::Unimplemented, String::new()),
                "takes no traces",
            ),
            (
                FailureKind::Refused(Code::InvalidArgument, "x".repeat(9_999)),
                "INVALID_ARGUMENT: xxx",
            ),
        ] {
            let told = failure(kind).to_string();
            assert!(told.contains(hint) && told.contains("http://host:4318"), "{told}");
            assert!(!told.contains("secret") && told.len() < 400, "{told}");
        }
    }

    #[test]
    fn what_the_specification_calls_retryable_is_and_nothing_else() {
        for code in (0..17).map(Code::from) {
            let is_retryable = [1, 4, 10, 11, 14, 15].contains(&i32::from(code));
            let refused = failure(FailureKind::Refused(code, String::new()));
            assert_eq!(refused.is_retryable(), is_retryable, "{code:?}");
            let of_service = [7, 12, 16].contains(&i32::from(code));
            assert_eq!(
                refused.is_about_request(),
                !is_retryable && !of_service,
                "{code:?}"
            );
        }
    }
}
