//! Which connections the relay serves, and to which address each of them counts.
//!
//! ```text
//! without balancers:  the connection's own address ─────────────────► slots of that address
//! with balancers:     a balancer's? ─► its PROXY header, in time ───► slots of the address that it names
//! ```
//!
//! A header counts for the limits and the log only. It is no authority of the relay, and proves no identity: those are
//! the signature of a registration and the Noise handshake of a session.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::limits::{CONNECTION_BYTES, PROXY_HEADER_READ_BYTES, TLS_BYTES};
use crate::listener::AcceptedConnection;
use crate::memory_budget::{MemoryAccount, MemoryReservation};
use crate::network::{Network, NetworkSlot};
use crate::proxy_header::{ConnectionSource, ProxyHeaderDecoder};
use crate::rejection::{ConnectionLimit, HeaderError, Rejection};
use crate::slots::Slot;
use crate::state::RelayState;

/// What a connection holds until it ends.
#[expect(dead_code, reason = "held for their Drop")]
pub(crate) struct ConnectionSlots {
    network: NetworkSlot,
    memory: MemoryReservation,
}

/// A connection that was accepted.
pub(crate) enum Admission {
    /// It counts to its own address.
    Counted(ConnectionSlots),
    /// It is a balancer's, and its header has not arrived.
    AwaitsHeader(HeaderSlots),
}

/// What a balancer's connection holds until its header has arrived: a slot of all connections without a header, and
/// memory of the balancer's own address.
#[expect(dead_code, reason = "held for their Drop")]
pub(crate) struct HeaderSlots {
    slot: Slot<()>,
    memory: MemoryReservation,
}

impl Admission {
    /// Admits a connection of a relay that has this many others.
    pub(crate) fn of<S>(
        accepted: &AcceptedConnection<S>,
        connections: usize,
        has_tls: bool,
        relay: &RelayState,
    ) -> Result<Self, Rejection> {
        let limits = &relay.limits;
        if connections >= limits.connections {
            return Err(ConnectionLimit::Relay(limits.connections).into());
        }
        let address = accepted.remote.ip();
        let network = Network::of(address);
        if relay.balancers.is_empty() {
            return Ok(Self::Counted(ConnectionSlots::take(network, has_tls, relay)?));
        }
        if !relay.balancers.iter().any(|range| range.contains(address)) {
            return Err(Rejection::NotABalancer);
        }
        let slot = relay.missing_headers.take(());
        Ok(Self::AwaitsHeader(HeaderSlots {
            slot: slot.ok_or(ConnectionLimit::MissingHeaders(limits.missing_headers))?,
            memory: reserve(network, has_tls, relay)?,
        }))
    }

    /// Reads the header, if there must be one, and nothing after it. Returns the address to which the connection
    /// counts.
    pub(crate) async fn complete<S: AsyncRead + Unpin>(
        self,
        stream: &mut S,
        peer: SocketAddr,
        has_tls: bool,
        relay: &RelayState,
    ) -> Result<(SocketAddr, ConnectionSlots), Rejection> {
        let awaited = match self {
            Self::Counted(slots) => return Ok((peer, slots)),
            Self::AwaitsHeader(awaited) => awaited,
        };
        let remote = match read_header(stream, relay.limits.header_timeout).await? {
            ConnectionSource::Balancer => peer,
            ConnectionSource::Client(address) => address,
        };
        drop(awaited);
        let slots = ConnectionSlots::take(Network::of(remote.ip()), has_tls, relay)?;
        Ok((remote, slots))
    }
}

impl ConnectionSlots {
    fn take(network: Network, has_tls: bool, relay: &RelayState) -> Result<Self, ConnectionLimit> {
        let slot = relay.connections_from.take(network);
        Ok(Self {
            network: slot.ok_or(ConnectionLimit::Address(relay.connections_from.limit()))?,
            memory: reserve(network, has_tls, relay)?,
        })
    }
}

fn reserve(
    network: Network,
    has_tls: bool,
    relay: &RelayState,
) -> Result<MemoryReservation, ConnectionLimit> {
    let bytes = CONNECTION_BYTES + if has_tls { TLS_BYTES } else { 0 };
    let memory = relay.sessions.reserve(MemoryAccount::of(network, None), bytes);
    memory.map_err(|_| ConnectionLimit::Memory)
}

/// Reads a PROXY header, which must arrive within `wait`, and nothing after it.
async fn read_header<S: AsyncRead + Unpin>(
    stream: &mut S,
    wait: Duration,
) -> Result<ConnectionSource, HeaderError> {
    let reading = async {
        let mut decoder = ProxyHeaderDecoder::default();
        let mut buffer = [0; PROXY_HEADER_READ_BYTES];
        loop {
            let room = decoder.missing().min(buffer.len());
            match stream.read(&mut buffer[..room]).await {
                Ok(read @ 1..) => {
                    if let Some(source) = decoder.feed(&buffer[..read])? {
                        return Ok(source);
                    }
                }
                // The end, or a reset.
                Ok(0) | Err(_) if decoder.is_untouched() => return Err(HeaderError::Unused),
                Ok(0) | Err(_) => return Err(HeaderError::Truncated),
            }
        }
    };
    timeout(wait, reading)
        .await
        .unwrap_or(Err(HeaderError::Slow(wait)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    const HEADER: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb\x04\0\0";

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_header_is_not_read_with_it() {
        let expected = ConnectionSource::Client("192.0.2.1:1234".parse().unwrap());
        // The second pipe holds one byte at a time.
        for size in [1024, 1] {
            let (mut balancer, mut relay) = duplex(size);
            tokio::spawn(async move {
                balancer.write_all(HEADER).await.unwrap();
                balancer.write_all(b"PRI *").await.unwrap();
            });
            assert_eq!(read_header(&mut relay, WAIT).await.unwrap(), expected);
            let mut rest = Vec::new();
            relay.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"PRI *");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_has_a_deadline_that_single_bytes_do_not_extend() {
        let begun = Instant::now();
        let (mut balancer, mut relay) = duplex(64);
        tokio::spawn(async move {
            for byte in HEADER {
                balancer.write_all(&[*byte]).await.unwrap();
                sleep(WAIT / 10).await;
            }
        });
        let slow = read_header(&mut relay, WAIT).await;
        assert!(matches!(slow, Err(HeaderError::Slow(WAIT))), "{slow:?}");
        assert_eq!(begun.elapsed(), WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_before_its_header_does_is_told_from_one_that_sent_nothing() {
        for sent in 0..HEADER.len() {
            let (mut balancer, mut relay) = duplex(64);
            balancer.write_all(&HEADER[..sent]).await.unwrap();
            drop(balancer);
            match read_header(&mut relay, WAIT).await {
                Err(HeaderError::Unused) => assert_eq!(sent, 0),
                Err(HeaderError::Truncated) => assert_ne!(sent, 0),
                other => panic!("{other:?} after {sent} bytes"),
            }
        }
    }
}
