//! The header of the PROXY protocol, version 2, with which a balancer says whose connection it forwards. Sans-IO.
//!
//! The source is "The PROXY protocol", section 2.2, of haproxy.org. The decision for each header:
//!
//! | command | family and transport | decision |
//! |---|---|---|
//! | LOCAL | any | the balancer's own connection, usually a health check; the family is ignored, as specified |
//! | PROXY | TCP over IPv4 or IPv6 | the connection of the source address |
//! | PROXY | unspecified, UNIX socket | refused: see below |
//! | PROXY | UDP, unknown | refused: the relay serves TCP only |
//!
//! The specification lets the receiver choose for a client without an IP address: refuse it, or count it as the
//! balancer. The relay refuses it. Such clients would share the limits of the balancer's own address with its health
//! checks, so one of them could make the balancer believe that the relay is down.
//!
//! The destination address is read and dropped. It is no authority of the relay: an exec-server signs the authority
//! that it dialled, and the relay must know its own from its operator alone, or a balancer could have it accept a
//! challenge that another relay forwarded. Values behind the addresses (TLVs) are skipped, CRC32C among them: TCP and
//! TLS check what they carry.
//!
//! Version 1 (text) is refused: its length is not known before its end.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_HEADER_BYTES;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and transport, and the length of the rest.
const FIXED_LEN: usize = 16;

/// Two IPv4 addresses and two ports.
const IPV4_LEN: usize = 12;

/// Two IPv6 addresses and two ports.
const IPV6_LEN: usize = 36;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionSource {
    /// The balancer's own.
    Balancer,
    /// A client's, with this address.
    Client(SocketAddr),
}

/// What is wrong with a header. The balancer's configuration must be fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error(
        "no header; configure the balancer to send version 2, also in its health checks (HAProxy: send-proxy-v2 \
         check-send-proxy)"
    )]
    Missing,
    #[error("a header of version 1; configure the balancer to send version 2 (HAProxy: send-proxy-v2)")]
    Version1,
    #[error("a header with unknown version and command {0:#04x}; configure the balancer to send version 2")]
    Version(u8),
    #[error(
        "a header with the address family and transport {0:#04x}; let only TCP clients with IPv4 or IPv6 addresses \
         through the balancer"
    )]
    Family(u8),
    #[error("a header too short for its addresses")]
    Short,
    #[error(
        "a header of {0} bytes, longer than {PROXY_HEADER_BYTES}; configure the balancer to send fewer values (TLVs)"
    )]
    Long(usize),
}

/// Reads one header, however its bytes arrive.
#[derive(Debug)]
pub(crate) struct ProxyHeaderDecoder {
    /// The fixed part and the addresses.
    bytes: [u8; FIXED_LEN + IPV6_LEN],
    have: usize,
    /// The header's length, or that of its fixed part, until that has arrived.
    len: usize,
}

impl Default for ProxyHeaderDecoder {
    fn default() -> Self {
        Self {
            bytes: [0; FIXED_LEN + IPV6_LEN],
            have: 0,
            len: FIXED_LEN,
        }
    }
}

impl ProxyHeaderDecoder {
    /// Bytes of the header that can be read next. What follows the header belongs to TLS or HTTP/2.
    pub(crate) fn missing(&self) -> usize {
        self.len - self.have
    }

    /// Whether no byte has arrived.
    pub(crate) fn is_untouched(&self) -> bool {
        self.have == 0
    }

    /// Takes at most [`Self::missing`] bytes. Returns the source when the header is complete. An error is final, and is
    /// found at the first byte that shows it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<ConnectionSource>, ProxyHeaderError> {
        for byte in bytes.iter().take(self.missing()) {
            if let Some(place) = self.bytes.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
        }
        if self.len == FIXED_LEN {
            self.check_fixed_part()?;
        }
        Ok((self.missing() == 0).then(|| self.source()))
    }

    /// Checks as much of the fixed part as has arrived, and learns the length from it.
    fn check_fixed_part(&mut self) -> Result<(), ProxyHeaderError> {
        let known = &self.bytes[..self.have];
        let signature = &known[..known.len().min(SIGNATURE.len())];
        if !SIGNATURE.starts_with(signature) {
            return Err(match known.starts_with(b"PROXY ") {
                true => ProxyHeaderError::Version1,
                false => ProxyHeaderError::Missing,
            });
        }
        if let Some(&command) = known.get(12)
            && !matches!(command, LOCAL | PROXY)
        {
            return Err(ProxyHeaderError::Version(command));
        }
        if known.len() < FIXED_LEN {
            return Ok(());
        }
        let [command, family, high, low] = first(&known[SIGNATURE.len()..]);
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if command == PROXY {
            let addresses = match family {
                TCP_OVER_IPV4 => IPV4_LEN,
                TCP_OVER_IPV6 => IPV6_LEN,
                other => return Err(ProxyHeaderError::Family(other)),
            };
            if rest < addresses {
                return Err(ProxyHeaderError::Short);
            }
        }
        let len = FIXED_LEN + rest;
        if len > PROXY_HEADER_BYTES {
            return Err(ProxyHeaderError::Long(len));
        }
        self.len = len;
        Ok(())
    }

    /// The source that a complete header names.
    fn source(&self) -> ConnectionSource {
        let addresses = &self.bytes[FIXED_LEN..];
        let (ip, port): (IpAddr, usize) = match (self.bytes[12], self.bytes[13]) {
            (PROXY, TCP_OVER_IPV4) => (Ipv4Addr::from(first(addresses)).into(), 8),
            (PROXY, TCP_OVER_IPV6) => (Ipv6Addr::from(first(addresses)).into(), 32),
            _ => return ConnectionSource::Balancer,
        };
        let port = u16::from_be_bytes(first(&addresses[port..]));
        ConnectionSource::Client(SocketAddr::new(ip, port))
    }
}

/// Version 2 and the command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Address family and transport.
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The first `N` bytes of a longer slice.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| bytes[at])
}
