//! The origin that an exec-server receives with a dial: it distinguishes networks without revealing their addresses.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::network::Network;

/// Derives a network's origin with a keyed hash. The random key never leaves the relay process, so hashing every
/// possible address does not reveal the network.
pub(crate) struct Origins([u8; 16]);

impl Origins {
    pub(crate) fn new() -> Self {
        let mut key = [0; 16];
        // If this fails, drawing an accept token fails too, and every dial is refused.
        let _ = getrandom::fill(&mut key);
        Self(key)
    }

    /// The origin of a network.
    pub(crate) fn of(&self, network: Network) -> [u8; 8] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        match network.address() {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        hasher.finish().to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_a_network_within_one_process_only() {
        let origins = Origins([7; 16]);
        let of = |address: &str| origins.of(Network::of(address.parse().unwrap()));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"), "one /64");
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"), "another /64");
        let network = Network::of("192.0.2.1".parse().unwrap());
        assert_ne!(origins.of(network), Origins([8; 16]).of(network));
        assert_ne!(Origins::new().of(network), Origins::new().of(network));
    }
}
