//! For any headers: an id or a token is accepted in one encoding only, and an authority only if it is the relay's.

use baton_fuzz::{Input, Script, Target};
use baton_proto::{ExecServerId, SessionId};

use super::*;
use crate::limits::SANITIZED_CHARS;
use crate::register::fuzz::check_authority;

/// The input: an id's header, a token's, the `:authority`.
pub(crate) const HEADERS: Target = Target {
    name: "relay-headers",
    run,
    seeds,
};

const NAME: &str = "x";

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if let Ok(value) = HeaderValue::from_bytes(input.chunk()) {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(NAME), value.clone())]);
        if let Ok(id) = id_header::<SessionId>(&headers, NAME) {
            assert_eq!(
                id.to_string().as_bytes(),
                value.as_bytes(),
                "two encodings of one id"
            );
        }
        let exec_server = id_header::<ExecServerId>(&headers, NAME);
        assert_eq!(
            exec_server.is_ok(),
            id_header::<SessionId>(&headers, NAME).is_ok()
        );
    }
    if let Ok(value) = HeaderValue::from_bytes(input.chunk()) {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(NAME), value.clone())]);
        if let Ok(token) = token_header(&headers, NAME) {
            assert_eq!(
                HEXLOWER.encode(&token).as_bytes(),
                value.as_bytes(),
                "two encodings of one token"
            );
        }
        if let Ok(version) = version_header(&headers, NAME) {
            let digits = value.to_str().expect("digits").trim_start_matches('0');
            assert_eq!(digits, version.to_string().trim_start_matches('0'));
        }
    }
    let local_is_loopback = input.bool();
    if let Ok(authority) = std::str::from_utf8(input.rest()) {
        for configured in [&[][..], &["relay.example".to_owned(), "other:443".to_owned()]] {
            let (port, ip) = (
                7700,
                if local_is_loopback {
                    "127.0.0.1"
                } else {
                    "10.0.0.1"
                },
            );
            let result = check_authority(configured, &format!("{ip}:{port}"), authority);
            let own: &[&str] = match (configured.is_empty(), local_is_loopback) {
                (true, true) => &["127.0.0.1:7700", "localhost:7700"],
                (true, false) => &["10.0.0.1:7700"],
                (false, _) => &[
                    "relay.example",
                    "relay.example:7700",
                    "other:443",
                    "other:443:7700",
                ],
            };
            let is_own = own.contains(&authority.to_ascii_lowercase().as_str());
            assert_eq!(result.is_ok(), is_own, "{authority:?}");
            if let Err(error) = result {
                assert!(!error.chars().any(char::is_control), "{error:?}");
                // The message contains it twice.
                assert!(error.chars().count() <= 2 * SANITIZED_CHARS + 100, "{error:?}");
            }
        }
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |id: &[u8], token: &[u8], local: u8, authority: &[u8]| {
        Script::default()
            .chunk(id)
            .chunk(token)
            .u8(local)
            .raw(authority)
            .done()
    };
    let (id, token) = ("0123456789abcdef".repeat(2), "0123456789abcdef".repeat(4));
    vec![
        ("plain", of(id.as_bytes(), token.as_bytes(), 1, b"localhost:7700")),
        (
            "configured",
            of(id.as_bytes(), token.as_bytes(), 0, b"Relay.Example:7700"),
        ),
        (
            "uppercase",
            of(
                id.to_uppercase().as_bytes(),
                token.to_uppercase().as_bytes(),
                0,
                b"10.0.0.1:7700",
            ),
        ),
        ("version", of(b"1", b"01", 0, b"relay.example")),
        ("version-too-large", of(b"", b"4294967296", 0, b"relay.example")),
        ("short", of(b"abc", b"abc", 0, b"\x1b[31mevil\n")),
        ("not-text", of(&[0xff; 32], &[0xc3; 64], 1, b"other:443")),
    ]
}

#[cfg(test)]
#[test]
fn no_header_is_taken_in_a_second_spelling_nor_another_name_for_the_relays() {
    baton_fuzz::replay(&HEADERS);
}
