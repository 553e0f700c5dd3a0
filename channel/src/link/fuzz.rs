//! Any headers and trailers of a relay become an error message with a short hint that contains no control characters.

use baton_export::response_guard;
use baton_fuzz::{Input, Script, Target};
use baton_trace::limits::HINT_CHARS;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::dial::ConnectError;
use super::endpoint::RelayUrl;
use super::stream::StreamOpenError;
use crate::service::incoming::relay_reason;

/// The input: the values of [`HEADERS`].
pub(crate) const WORDS: Target = Target {
    name: "relay-words",
    run,
    seeds,
};

const HEADERS: [&str; 4] = [
    "grpc-status",
    "grpc-message",
    "grpc-retry-pushback-ms",
    "grpc-status-details-bin",
];

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut headers = HeaderMap::new();
    for name in HEADERS {
        if let Ok(value) = HeaderValue::from_bytes(input.chunk()) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    check(&relay_reason(Some(&headers)), HINT_CHARS);
    let Some(status) = response_guard::status(&headers) else {
        return;
    };
    let url = RelayUrl::parse("http://relay.example:7700").expect("a URL");
    let error = ConnectError::from_open(StreamOpenError::Refused(status), &url).now_or_never();
    let error = std::sync::Arc::new(error.expect("a refusal needs no probe"));
    check(&error.to_string(), HINT_CHARS + 200);
    check(error.to_status().message(), HINT_CHARS + 200);
}

fn check(said: &str, longest: usize) {
    assert!(said.chars().count() <= longest, "{said:?}");
    assert_eq!(
        baton_trace::text::printable(said),
        said,
        "contains control characters"
    );
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |values: [&[u8]; 4]| values.into_iter().fold(Script::default(), Script::chunk).done();
    vec![
        ("busy", of([b"8", b"too%20many%20dials", b"250", b""])),
        ("not-registered", of([b"5", b"no exec-server", b"", b""])),
        ("escapes", of([b"7", b"%1b[2J%E2%80%AEevil%0A%00", b"-1", b"AA"])),
        ("long", of([b"14", &[b'x'; 2_000], b"99999999999999999999", b"!"])),
        ("no-status", of([b"x", b"%", b"", b""])),
        ("ok", of([b"0", b"fine", b"", b""])),
    ]
}

#[cfg(test)]
#[test]
fn no_words_of_a_relay_steer_a_terminal_or_fill_it() {
    baton_fuzz::replay(&WORDS);
}
