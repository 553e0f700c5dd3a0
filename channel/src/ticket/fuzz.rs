//! Every text parses as a ticket or fails with a typed error, and so does a ticket's URL.

use baton_fuzz::Target;

use super::*;
use crate::link::endpoint::RelayUrl;

/// The input: one byte that selects text or a ticket's encoded content, then that.
pub(crate) const TICKET: Target = Target {
    name: "ticket",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let text = match kind & 1 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        _ => armoured(rest),
    };
    if let Ok(ticket) = text.parse::<Ticket>() {
        let shown = ticket.to_string();
        // Content has more than one encoding, but our encoding reads back as the same ticket.
        assert_eq!(shown.parse::<Ticket>(), Ok(ticket.clone()));
        assert!(!format!("{ticket:?}").contains(&BASE64URL_NOPAD.encode(&ticket.dial_token.0)));
        url(&ticket.relay_url);
    }
    url(&text);
}

fn url(text: &str) {
    match RelayUrl::parse(text) {
        Ok(url) => {
            assert!(!url.authority().contains('@') && !url.authority().is_empty());
            let method = url.method("Dial");
            assert_eq!(method.path(), "/baton.relay.v1.Relay/Dial");
            assert_eq!(
                method.authority().map(|authority| authority.as_str()),
                Some(url.authority())
            );
            let _ = url.is_exposed();
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
}

fn armoured(content: &[u8]) -> String {
    let bytes = [content, &checksum(content)].concat();
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let wire = |version, relay_url: &str, key: &str| {
        let wire = Wire {
            version,
            relay_url: relay_url.into(),
            exec_server_id: vec![1; 16].into(),
            noise_key: key.into(),
            dial_token: vec![3; 32].into(),
        };
        [&[1][..], &wire.encode_to_vec()].concat()
    };
    let key = PublicKey::from_bytes([9; 32]).to_string();
    let zero = PublicKey::from_bytes([0; 32]).to_string();
    let text = |text: &str| [b"\0", text.as_bytes()].concat();
    vec![
        ("content", wire(2, "http://127.0.0.1:7700", &key)),
        ("content-tls", wire(2, "https://[2001:db8::1]", &key)),
        ("other-version", wire(1, "http://a", &key)),
        ("low-order", wire(2, "http://a", &zero)),
        ("bad-key", wire(2, "ftp://a/b?c", "Noise_IK")),
        ("text", text(&armoured(&wire(2, "http://a:1", &key)[1..]))),
        ("prefix", text("baton1:")),
        ("damaged", text("baton1:AAAAAAAA")),
        ("url", text("http://user@host:7700/")),
        ("url-host", text("https://relay.example:7700")),
    ]
}

#[cfg(test)]
#[test]
fn no_text_is_half_a_ticket() {
    baton_fuzz::replay(&TICKET);
}
