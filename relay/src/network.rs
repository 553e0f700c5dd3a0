//! The networks that limits per address count: one IPv4 address, or the prefixes that contain an IPv6 address.
//!
//! An IPv6 host usually has a whole /64, and a customer of a hosting provider a /48, which contains 65,536 of those. So
//! an IPv6 address counts twice: a /48 has the limit of an IPv4 address, and each /64 in it half of that.

use std::net::{IpAddr, Ipv6Addr};

use crate::slots::{Slot, Slots};

/// One IPv4 address, or one IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => prefix(v6, 64),
            v4 => v4,
        })
    }

    pub(crate) fn address(self) -> IpAddr {
        self.0
    }

    /// The IPv4 address, or the /48 around it.
    pub(crate) fn site(self) -> Site {
        Site(match self.0 {
            IpAddr::V6(v6) => prefix(v6, 48),
            v4 => v4,
        })
    }
}

/// One IPv4 address, or one IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Site(IpAddr);

fn prefix(address: Ipv6Addr, bits: u32) -> IpAddr {
    let mask = u128::MAX << (128 - bits);
    IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
}

/// Slots per network.
pub(crate) struct NetworkSlots {
    limit: usize,
    by_site: Slots<Site>,
    by_network: Slots<Network>,
}

/// A taken slot of a network, released on drop.
#[expect(dead_code, reason = "held for their Drop")]
pub(crate) struct NetworkSlot {
    site: Slot<Site>,
    network: Option<Slot<Network>>,
}

impl NetworkSlots {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            by_site: Slots::new(limit),
            by_network: Slots::new(limit.div_ceil(2)),
        }
    }

    /// The slots of an IPv4 address.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a slot; `None` when the network, or the /48 that contains it, has no free one.
    pub(crate) fn take(&self, network: Network) -> Option<NetworkSlot> {
        let own = match network.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(_) => Some(self.by_network.take(network)?),
        };
        Some(NetworkSlot {
            site: self.by_site.take(network.site())?,
            network: own,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn ipv6_hosts_of_one_64_are_one_network_and_mapped_ipv4_is_ipv4() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.2"), network("192.0.2.1"));
    }

    #[test]
    fn a_48_gets_what_an_ipv4_address_gets_and_a_64_half_of_it() {
        let slots = NetworkSlots::new(4);
        let take = |address: &str| slots.take(network(address));
        let v4: Vec<_> = (0..4).map(|_| take("192.0.2.1").unwrap()).collect();
        assert!(take("192.0.2.1").is_none());
        let first: Vec<_> = (0..2).map(|_| take("2001:db8::1").unwrap()).collect();
        assert!(take("2001:db8::2").is_none(), "the /64 has its half");
        let _second = take("2001:db8:0:1::1").unwrap();
        let third = take("2001:db8:0:2::1").unwrap();
        assert!(take("2001:db8:0:3::1").is_none(), "the /48 has all of it");
        assert!(take("2001:db8:1::1").is_some(), "another /48");
        drop(third);
        assert!(take("2001:db8:0:3::1").is_some());
        drop((v4, first));
        assert!(take("192.0.2.1").is_some());
    }
}
