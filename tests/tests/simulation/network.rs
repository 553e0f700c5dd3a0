//! Adapters that give the simulated network to the link and to the relay.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use baton_channel::Network;
use baton_relay::{AcceptedConnection, Listener};
use turmoil::net::{TcpListener, TcpStream};

/// The relay's port.
pub(crate) const PORT: u16 = 7000;

/// Dials through the simulated network.
pub(crate) fn network() -> Network {
    Network::new(TcpStream::connect)
}

/// Accepts from the simulated network.
pub(crate) struct SimulatedListener(TcpListener);

impl SimulatedListener {
    pub(crate) async fn bind() -> io::Result<Self> {
        TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT))
            .await
            .map(Self)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Listener for SimulatedListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<AcceptedConnection<TcpStream>> {
        let (stream, remote) = self.0.accept().await?;
        let local = stream.local_addr()?;
        Ok(AcceptedConnection {
            stream,
            remote,
            local,
        })
    }
}
