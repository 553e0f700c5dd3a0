//! Converts HTTP headers to and from the metadata of `Head` and `Trailers`.

use baton_export::response_guard;
use baton_proto::channel::Metadata;
use http::header::{CONTENT_TYPE, HeaderName, TE};
use http::{HeaderMap, HeaderValue};

/// Whether a header is not sent: the receiver restores it, or it has its own field in `Head`.
fn is_implied(name: &HeaderName) -> bool {
    *name == CONTENT_TYPE || *name == TE || name.as_str() == "grpc-timeout"
}

/// The metadata entries to send.
pub(super) fn from_headers(headers: &HeaderMap) -> Vec<Metadata> {
    headers
        .iter()
        .filter(|(name, _)| !is_implied(name))
        .map(|(name, value)| Metadata {
            key: name.as_str().to_owned(),
            value: value.as_bytes().to_vec().into(),
        })
        .collect()
}

/// The received headers; `None` if an entry is not a valid header.
pub(crate) fn to_headers(metadata: Vec<Metadata>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(metadata.len() + 2);
    for Metadata { key, value } in metadata {
        let name = HeaderName::from_bytes(key.as_bytes()).ok()?;
        // HTTP/2, and so gRPC, allows lowercase names only (RFC 9113 section 8.2).
        if name.as_str() != key {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    // tonic would panic on invalid details, in the caller's task.
    (!response_guard::has_invalid_details(&headers)).then_some(headers)
}

/// Parses `grpc-timeout` (gRPC over HTTP/2: at most 8 digits and a unit) to nanoseconds.
pub(super) fn timeout_ns(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    // 0 on the wire means no deadline; a timeout of zero has already passed.
    Some(digits.parse::<u64>().ok()?.saturating_mul(scale).max(1))
}

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::METADATA;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse_as_grpc_defines_them() {
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout_ns(&headers)
        };
        assert_eq!(parse("5S"), Some(5_000_000_000));
        assert_eq!(parse("99999999H"), Some(u64::MAX));
        assert_eq!(parse("0m"), Some(1));
        for bad in ["", "S", "5", "5s", "-5S", "123456789S", "5é"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_eq!(timeout_ns(&headers), None, "{bad}");
        }
    }

    #[test]
    fn headers_round_trip_and_bad_ones_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append("a", "1".parse().unwrap());
        headers.append("a", "2".parse().unwrap());
        headers.append("te", "trailers".parse().unwrap());
        let back = to_headers(from_headers(&headers)).unwrap();
        assert_eq!(back.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(!back.contains_key("te"));
        for (key, value) in [
            ("", "x"),
            ("A", "x"),
            ("a b", "x"),
            ("a", "x\ny"),
            ("grpc-status-details-bin", "!"),
        ] {
            let entry = Metadata {
                key: key.into(),
                value: value.as_bytes().to_vec().into(),
            };
            assert!(to_headers(vec![entry]).is_none(), "{key:?} {value:?}");
        }
    }
}
