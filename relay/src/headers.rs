//! Parses the request headers that the relay reads. Each value has exactly one valid encoding.

use std::str::FromStr;

use baton_proto::IdError;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue};

/// A request header is missing or malformed: the peer's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the request header {0} is missing; send it")]
    Missing(&'static str),
    /// A balancer and this relay might read different ones.
    #[error("the request header {0} is there more than once; send it once")]
    Repeated(&'static str),
    #[error("the request header {header} is {source}")]
    Id { header: &'static str, source: IdError },
    #[error("the request header {0} is not a protocol version: expected a decimal number")]
    Version(&'static str),
    #[error("the request header {0} is not a token: expected 32 bytes as 64 lowercase hex digits")]
    Token(&'static str),
}

/// An id in a request header.
pub(crate) fn id_header<T>(headers: &HeaderMap, name: &'static str) -> Result<T, HeaderError>
where
    T: FromStr<Err = IdError>,
{
    text(headers, name)?
        .parse()
        .map_err(|source| HeaderError::Id { header: name, source })
}

/// A 32-byte token in a request header.
pub(crate) fn token_header(headers: &HeaderMap, name: &'static str) -> Result<[u8; 32], HeaderError> {
    HEXLOWER
        .decode(text(headers, name)?.as_bytes())
        .ok()
        .and_then(|token| token.try_into().ok())
        .ok_or(HeaderError::Token(name))
}

/// The protocol version in a request header; 0 without the header, which means unknown.
pub(crate) fn version_header(headers: &HeaderMap, name: &'static str) -> Result<u32, HeaderError> {
    if !headers.contains_key(name) {
        return Ok(0);
    }
    let text = text(headers, name)?;
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let version = text.parse().ok().filter(|_| is_decimal);
    version.ok_or(HeaderError::Version(name))
}

/// Marks a response as gRPC.
pub(crate) fn grpc_content_type(headers: &mut HeaderMap) {
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, HeaderError> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next().ok_or(HeaderError::Missing(name))?;
    if values.next().is_some() {
        return Err(HeaderError::Repeated(name));
    }
    // An empty text is never valid, so the parser's error states the expected format.
    Ok(value.to_str().unwrap_or(""))
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use baton_proto::SessionId;

    use super::*;

    #[test]
    fn headers_are_parsed_strictly() {
        let mut headers = HeaderMap::new();
        assert_eq!(
            id_header::<SessionId>(&headers, "x"),
            Err(HeaderError::Missing("x"))
        );
        for bad in ["", "ab", &"AB".repeat(32), &"ab".repeat(33), &"zz".repeat(32)] {
            headers.insert("x", bad.parse().unwrap());
            assert!(id_header::<SessionId>(&headers, "x").is_err(), "{bad}");
            assert_eq!(token_header(&headers, "x"), Err(HeaderError::Token("x")), "{bad}");
        }
        headers.insert("x", HeaderValue::from_bytes(&[0xff; 32]).unwrap());
        assert!(id_header::<SessionId>(&headers, "x").is_err());
        headers.insert("x", "ab".repeat(32).parse().unwrap());
        assert_eq!(token_header(&headers, "x"), Ok([0xab; 32]));
        headers.append("x", "ab".repeat(32).parse().unwrap());
        assert_eq!(token_header(&headers, "x"), Err(HeaderError::Repeated("x")));
    }

    #[test]
    fn a_version_is_decimal_and_may_be_absent() {
        let mut headers = HeaderMap::new();
        assert_eq!(version_header(&headers, "x"), Ok(0));
        for bad in ["", "+1", "-1", "1.0", " 1", "4294967296", "0x1"] {
            headers.insert("x", bad.parse().unwrap());
            assert_eq!(
                version_header(&headers, "x"),
                Err(HeaderError::Version("x")),
                "{bad}"
            );
        }
        headers.insert("x", "4294967295".parse().unwrap());
        assert_eq!(version_header(&headers, "x"), Ok(u32::MAX));
    }
}
