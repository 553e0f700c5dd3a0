//! A range of IP addresses: one address, or a prefix (CIDR).

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// One address like `192.0.2.1`, or the addresses of a prefix like `10.0.0.0/8` or `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange(IpNet);

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// Neither an address nor a prefix.
    #[error("expected an IP address, or a prefix like 10.0.0.0/8 or 2001:db8::/32")]
    Format,
    /// An address inside the prefix, with its length. It may be meant as an address, or as a prefix.
    #[error("{address} is inside of the prefix {prefix}; pass one or the other")]
    InsidePrefix {
        /// The address.
        address: IpAddr,
        /// The prefix, without the bits behind its length.
        prefix: String,
    },
}

impl AddressRange {
    /// Whether the address is in the range. An IPv4 address that is mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether it contains every address of its family.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let prefix: IpNet = text.parse().map_err(|_| AddressRangeError::Format)?;
        if prefix.addr() != prefix.network() {
            return Err(AddressRangeError::InsidePrefix {
                address: prefix.addr(),
                prefix: prefix.trunc().to_string(),
            });
        }
        Ok(Self(canonical(prefix)))
    }
}

/// The IPv4 prefix of an IPv6 prefix that contains mapped addresses only.
fn canonical(prefix: IpNet) -> IpNet {
    let mapped = || {
        let IpAddr::V4(v4) = prefix.addr().to_canonical() else {
            return None;
        };
        let len = prefix.prefix_len().checked_sub(96)?;
        Ipv4Net::new(v4, len).ok()
    };
    match prefix {
        IpNet::V6(_) => mapped().map_or(prefix, IpNet::V4),
        IpNet::V4(_) => prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &str, address: &str) -> bool {
        let range: AddressRange = range.parse().unwrap();
        range.contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_is_itself_and_a_prefix_is_what_is_behind_it() {
        assert!(contains("192.0.2.1", "192.0.2.1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("10.0.0.0/8", "10.255.255.255"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("2001:db8::1", "2001:db8::1"));
    }

    #[test]
    fn ipv4_is_the_same_when_it_is_mapped_into_ipv6() {
        for range in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            assert!(contains(range, "10.1.2.3"), "{range}");
            assert!(contains(range, "::ffff:10.1.2.3"), "{range}");
            assert!(!contains(range, "::ffff:11.0.0.1"), "{range}");
        }
        assert!(contains("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!contains("::/0", "10.1.2.3"), "IPv4 has to be named as such");
    }

    #[test]
    fn an_address_inside_of_its_prefix_is_refused_because_either_may_be_meant() {
        let error = "10.0.0.7/8".parse::<AddressRange>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.0.0.7 is inside of the prefix 10.0.0.0/8; pass one or the other"
        );
        for text in [
            "",
            "balancer.example",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0",
            "::/129",
        ] {
            assert_eq!(
                text.parse::<AddressRange>(),
                Err(AddressRangeError::Format),
                "{text:?}"
            );
        }
    }
}
