//! For any bytes: the same header whether they arrive together or one at a time, no byte behind the header is taken,
//! and a client's address is the one in the header.

use baton_fuzz::{Input, Script, Target};

use super::*;

/// The input: with or without the signature first, and what is sent.
pub(crate) const PROXY_HEADER: Target = Target {
    name: "proxy-header",
    run,
    seeds,
};

type Outcome = Result<Option<ConnectionSource>, ProxyHeaderError>;

/// Feeds in pieces of at most `most` bytes. Returns the result, and the number of bytes that were taken.
fn decode(sent: &[u8], most: usize) -> (Outcome, usize) {
    let mut decoder = ProxyHeaderDecoder::default();
    let mut taken = 0;
    while taken < sent.len() {
        let end = sent.len().min(taken + most.min(decoder.missing()));
        let fed = decoder.feed(&sent[taken..end]);
        taken = end;
        assert!(taken <= PROXY_HEADER_BYTES);
        if !matches!(fed, Ok(None)) {
            return (fed, taken);
        }
    }
    (Ok(None), taken)
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut sent = match input.bool() {
        true => SIGNATURE.to_vec(),
        false => Vec::new(),
    };
    sent.extend(input.rest());
    let (together, taken) = decode(&sent, usize::MAX);
    let (apart, taken_apart) = decode(&sent, 1);
    match (together, apart) {
        // What follows the first wrong byte makes the message more precise.
        (Err(_), Err(_)) => {}
        (together, apart) => {
            assert_eq!(together, apart);
            assert_eq!(taken, taken_apart);
        }
    }
    if let Ok(Some(source)) = together {
        let declared = usize::from(u16::from_be_bytes([sent[14], sent[15]]));
        assert_eq!(taken, FIXED_LEN + declared);
        assert!(sent.starts_with(&SIGNATURE));
        match source {
            ConnectionSource::Balancer => assert_eq!(sent[12], 0x20),
            ConnectionSource::Client(address) => {
                assert_eq!(sent[12], 0x21);
                let octets = match address.ip() {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                assert!(sent[FIXED_LEN..].starts_with(&octets));
            }
        }
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let after_signature = |bytes: &[u8]| Script::default().u8(1).raw(bytes).done();
    let v4 = b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb";
    let v6 = [b"\x21\x21\0\x24".as_slice(), &[0x20; 36]].concat();
    vec![
        ("ipv4", after_signature(&[&v4[..], b"\x16\x03\x01"].concat())),
        ("ipv6", after_signature(&v6)),
        ("cut", after_signature(&v4[..9])),
        (
            "values",
            after_signature(
                &[
                    b"\x21\x11\0\x17".as_slice(),
                    &v4[4..],
                    b"\x03\0\x04abcd\x04\0\x01x",
                ]
                .concat(),
            ),
        ),
        ("long", after_signature(b"\x21\x11\xff\xff\xc0\0\x02\x01")),
        ("short", after_signature(b"\x21\x11\0\x0b\xc0\0\x02\x01")),
        ("local", after_signature(b"\x20\0\0\0PRI * HTTP/2.0")),
        (
            "local-with-family",
            after_signature(b"\x20\x11\0\x0c0123456789ab"),
        ),
        ("unspecified", after_signature(b"\x21\0\0\0")),
        (
            "unix",
            after_signature(&[b"\x21\x31\0\xd8".as_slice(), &[b'/'; 216]].concat()),
        ),
        (
            "version-1",
            Script::default()
                .u8(0)
                .raw(b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n")
                .done(),
        ),
        ("none", Script::default().u8(0).raw(b"PRI * HTTP/2.0").done()),
    ]
}

#[cfg(test)]
#[test]
fn no_cut_of_a_header_changes_whose_connection_it_is_or_takes_what_follows() {
    baton_fuzz::replay(&PROXY_HEADER);
}
