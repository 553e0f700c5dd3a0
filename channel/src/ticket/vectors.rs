//! `docs/vectors/tickets.json`.

use baton_noise::key::Seed;
use baton_vectors::{Case, Vector, check};

use super::*;
use crate::link::endpoint::RelayUrl;

/// The ticket of an exec-server with this seed.
fn ticket(relay_url: &str, seed: [u8; 32]) -> Ticket {
    let keys = Seed::from_bytes(seed).server_keys().unwrap();
    Ticket {
        relay_url: relay_url.into(),
        exec_server: baton_proto::registration::exec_server_id(keys.registration.public()),
        noise_key: *keys.noise.public(),
        dial_token: keys.dial_token,
    }
}

fn described(case: Case, text: &str, ticket: &Ticket) -> Case {
    case.with("text", text)
        .with("version", PROTOCOL_VERSION)
        .with("relay_url", ticket.relay_url.as_str())
        .bytes("exec_server_id", ticket.exec_server.0)
        .with("noise_key", ticket.noise_key.to_string())
        .bytes("dial_token", ticket.dial_token.0)
}

fn armoured(content: &[u8]) -> String {
    let bytes = [content, &checksum(content)].concat();
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

fn refusal(text: &str) -> String {
    match text.parse::<Ticket>().unwrap_err() {
        TicketError::Prefix => "prefix".into(),
        TicketError::Damaged => "damaged".into(),
        TicketError::Version(_) => "version".into(),
        TicketError::Field(field) => field.into(),
    }
}

fn refused(name: &str, text: &str) -> Case {
    Case::new("refused ticket", name)
        .with("text", text)
        .with("error", refusal(text))
}

fn url(name: &str, text: &str) -> Case {
    match RelayUrl::parse(text) {
        Ok(url) => Case::new("relay url", name)
            .with("text", text)
            .with("authority", url.authority())
            .with("tls", url.is_tls()),
        Err(_) => Case::new("refused relay url", name).with("text", text),
    }
}

fn cases() -> Vec<Case> {
    let seed = std::array::from_fn(|at| at as u8);
    let first = ticket("http://127.0.0.1:7700", seed);
    let text = first.to_string();
    let mut cases = vec![described(
        Case::new("ticket", "the seed 00 01 … 1f"),
        &text,
        &first,
    )];
    for (name, url) in [
        ("TLS on the default port", "https://relay.example"),
        ("an IPv6 address", "http://[2001:db8::1]:7700"),
    ] {
        let ticket = ticket(url, [7; 32]);
        cases.push(described(Case::new("ticket", name), &ticket.to_string(), &ticket));
    }
    cases.push(described(
        Case::new("ticket to read", "white space around it"),
        &format!(" \t{text}\r\n"),
        &first,
    ));
    let wire = || Wire {
        version: PROTOCOL_VERSION,
        relay_url: first.relay_url.clone(),
        exec_server_id: first.exec_server.0.to_vec().into(),
        noise_key: first.noise_key.to_string(),
        dial_token: first.dial_token.0.to_vec().into(),
    };
    let with_unknown = [&wire().encode_to_vec()[..], &[0x7a, 1, 0]].concat();
    let case = Case::new("ticket to read", "an unknown field");
    cases.push(described(case, &armoured(&with_unknown), &first));
    let changed = |change: fn(&mut Wire)| {
        let mut wire = wire();
        change(&mut wire);
        armoured(&wire.encode_to_vec())
    };
    let other_character = text.replacen('A', "B", 1);
    cases.extend([
        refused("nothing", ""),
        refused("another prefix", &text.replacen("baton1:", "baton2:", 1)),
        refused("the prefix alone", PREFIX),
        refused("the last character is missing", &text[..text.len() - 1]),
        refused("another character", &other_character),
        refused("padding", &format!("{text}=")),
        refused(
            "4,097 characters",
            &format!("{text}{}", "A".repeat(TICKET_MAX + 1 - text.len())),
        ),
        refused("version 1", &changed(|wire| wire.version = 1)),
        refused("no version", &changed(|wire| wire.version = 0)),
        refused(
            "an id of 15 bytes",
            &changed(|wire| wire.exec_server_id.truncate(15)),
        ),
        refused(
            "a dial token of 33 bytes",
            &changed(|wire| wire.dial_token = vec![1; 33].into()),
        ),
        refused(
            "a key of another suite",
            &changed(|wire| wire.noise_key = wire.noise_key.replace("AESGCM", "ChaChaPoly")),
        ),
        refused(
            "a key of low order",
            &changed(|wire| wire.noise_key = PublicKey::from_bytes([0; 32]).to_string()),
        ),
        url("http", "http://127.0.0.1:7700"),
        url("https with a slash", "https://relay.example:443/"),
        url("https without a port", "https://relay.example"),
        url("an IPv6 address", "http://[2001:db8::1]:7700"),
        url("another scheme", "ftp://relay.example"),
        url("no scheme", "relay.example:7700"),
        url("a path", "http://relay.example/baton"),
        url("a query", "http://relay.example/?a=b"),
        url("a user", "http://user@relay.example"),
        url("nothing", ""),
    ]);
    cases
}

fn decode(vector: Vector<'_>) {
    let text = vector.text("text");
    let kind = vector.kind();
    match kind {
        "ticket" | "ticket to read" => {
            let ticket = Ticket {
                relay_url: vector.text("relay_url").into(),
                exec_server: ExecServerId(vector.array("exec_server_id")),
                noise_key: vector.text("noise_key").parse().unwrap(),
                dial_token: DialToken(vector.array("dial_token")),
            };
            assert_eq!(vector.number("version"), u64::from(PROTOCOL_VERSION));
            assert_eq!(text.parse(), Ok(ticket.clone()));
            if kind == "ticket" {
                assert_eq!(ticket.to_string(), text);
            }
        }
        "refused ticket" => assert_eq!(refusal(text), vector.text("error")),
        "relay url" => {
            let url = RelayUrl::parse(text).unwrap();
            assert_eq!(
                (url.authority(), url.is_tls()),
                (vector.text("authority"), vector.flag("tls"))
            );
        }
        "refused relay url" => assert!(RelayUrl::parse(text).is_err()),
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_tickets_hold() {
    check(
        "tickets.json",
        "Section 2: tickets, and the URL of a relay. `error` names what is wrong: the prefix, the text or its checksum (damaged), the \
         version, or a field. A ticket's URL is checked when it is dialled.",
        &cases(),
        decode,
    );
}
