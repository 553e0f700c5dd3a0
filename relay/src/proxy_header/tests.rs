use proptest::prelude::*;

use super::*;

/// A header with this command, family and rest.
pub(super) fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

/// The header of a connection from `source` to `destination`, with these bytes behind the addresses.
pub(super) fn proxied(source: SocketAddr, destination: SocketAddr, more: &[u8]) -> Vec<u8> {
    let (family, mut rest) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (TCP_OVER_IPV4, [source.octets(), destination.octets()].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (TCP_OVER_IPV6, [source.octets(), destination.octets()].concat())
        }
        _ => panic!("two families"),
    };
    rest.extend(source.port().to_be_bytes());
    rest.extend(destination.port().to_be_bytes());
    rest.extend(more);
    header(PROXY, family, &rest)
}

/// Feeds in pieces of these lengths, in turns, as [`ProxyHeaderDecoder::missing`] asks. Returns the result, and the
/// number of bytes that were taken.
pub(super) fn decode(
    mut bytes: &[u8],
    cuts: &[usize],
) -> (Result<Option<ConnectionSource>, ProxyHeaderError>, usize) {
    let mut decoder = ProxyHeaderDecoder::default();
    let mut cuts = cuts.iter().cycle();
    let all = bytes.len();
    while !bytes.is_empty() {
        let cut = cuts.next().map_or(usize::MAX, |cut| *cut);
        let (piece, rest) = bytes.split_at(cut.min(decoder.missing()).min(bytes.len()));
        bytes = rest;
        match decoder.feed(piece) {
            Ok(None) => {}
            ended => return (ended, all - bytes.len()),
        }
    }
    (Ok(None), all)
}

fn whole(bytes: &[u8]) -> Result<Option<ConnectionSource>, ProxyHeaderError> {
    decode(bytes, &[usize::MAX]).0
}

fn client(address: &str) -> Result<Option<ConnectionSource>, ProxyHeaderError> {
    Ok(Some(ConnectionSource::Client(address.parse().unwrap())))
}

#[test]
fn a_header_is_read_as_the_specification_writes_it() {
    let v4 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb";
    assert_eq!(whole(v4), client("192.0.2.1:1234"));
    let v6 = proxied(
        "[2001:db8::1]:1234".parse().unwrap(),
        "[2001:db8::2]:443".parse().unwrap(),
        b"\x04\0\x01x",
    );
    assert_eq!(&v6[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28");
    assert_eq!(whole(&v6), client("[2001:db8::1]:1234"));
}

#[test]
fn the_balancers_own_connection_is_its_own_whatever_its_family_says() {
    for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
        for rest in [&[][..], &[7; 12], &[7; 300]] {
            let header = header(LOCAL, family, rest);
            assert_eq!(
                whole(&header),
                Ok(Some(ConnectionSource::Balancer)),
                "{family:#04x}"
            );
        }
    }
}

#[test]
fn a_client_without_an_address_of_tcp_is_refused() {
    for family in [0x00, 0x01, 0x10, 0x12, 0x22, 0x31, 0x32, 0x41, 0xff] {
        let header = header(PROXY, family, &[0; 216]);
        assert_eq!(whole(&header), Err(ProxyHeaderError::Family(family)));
    }
}

#[test]
fn what_is_no_header_of_version_2_is_refused_at_its_first_wrong_byte() {
    use ProxyHeaderError::{Missing, Version, Version1};
    let refused = |bytes: &[u8], error, taken| {
        assert_eq!(decode(bytes, &[1]), (Err(error), taken), "{bytes:?}");
    };
    assert_eq!(whole(b"PROXY TCP4 192.0.2.1 "), Err(Version1));
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Missing, 1);
    refused(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Missing, 1);
    refused(b"\r\n\r\n\0\r\nQUIT\r", Missing, 12);
    for command in [0x00, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        refused(&header(command, 0x11, &[0; 12]), Version(command), 13);
    }
}

#[test]
fn a_length_that_its_addresses_do_not_fit_in_is_refused() {
    for (family, len) in [(TCP_OVER_IPV4, IPV4_LEN), (TCP_OVER_IPV6, IPV6_LEN)] {
        assert_eq!(
            whole(&header(PROXY, family, &vec![0; len - 1])),
            Err(ProxyHeaderError::Short)
        );
        assert!(matches!(
            whole(&header(PROXY, family, &vec![0; len])),
            Ok(Some(_))
        ));
    }
}

#[test]
fn a_header_beyond_the_limit_is_refused_before_its_values_are_read() {
    let most = PROXY_HEADER_BYTES - FIXED_LEN;
    for command in [LOCAL, PROXY] {
        assert!(matches!(
            whole(&header(command, TCP_OVER_IPV4, &vec![0; most])),
            Ok(Some(_))
        ));
        let long = header(command, TCP_OVER_IPV4, &vec![0; most + 1]);
        let refused = Err(ProxyHeaderError::Long(PROXY_HEADER_BYTES + 1));
        assert_eq!(decode(&long, &[1]), (refused, FIXED_LEN));
    }
}

#[test]
fn an_error_says_which_setting_of_the_balancer_to_change() {
    for error in [ProxyHeaderError::Missing, ProxyHeaderError::Version1] {
        assert!(error.to_string().contains("send-proxy-v2"), "{error}");
    }
}

proptest! {
    #[test]
    fn a_header_is_read_however_it_is_cut_and_nothing_behind_it_is_taken(
        v4: bool,
        ip: u128,
        other: u128,
        ports: (u16, u16),
        values in proptest::collection::vec(any::<u8>(), 0..600),
        behind in proptest::collection::vec(any::<u8>(), 0..100),
        cuts in proptest::collection::vec(1_usize..80, 1..8),
    ) {
        let address = |ip: u128, port| match v4 {
            true => SocketAddr::new(Ipv4Addr::from_bits(ip as u32).into(), port),
            false => SocketAddr::new(Ipv6Addr::from_bits(ip).into(), port),
        };
        let source = address(ip, ports.0);
        let header = proxied(source, address(other, ports.1), &values);
        let sent = [&header[..], &behind].concat();
        prop_assert_eq!(
            decode(&sent, &cuts),
            (Ok(Some(ConnectionSource::Client(source))), header.len())
        );
        // Without its last byte it is not complete.
        prop_assert_eq!(decode(&header[..header.len() - 1], &cuts).0, Ok(None));
    }
}
