//! Relays over in-memory connections, for tests in virtual time.

use std::io;
use std::net::SocketAddr;

use baton_channel::Network;
use baton_relay::{AcceptedConnection, Listener};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

/// The address that every relay believes to listen on.
pub(crate) const ADDRESS: &str = "127.0.0.1:7700";

/// Bytes that wait on a connection in one direction.
pub(crate) const BUFFERED: usize = 1 << 16;

/// Sends the relay its ends of connections.
pub(crate) type Connections = mpsc::UnboundedSender<DuplexStream>;

/// The relay's side of the connections.
pub(crate) struct InMemory(pub(crate) mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for InMemory {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<AcceptedConnection<DuplexStream>> {
        let stream = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
        let address: SocketAddr = ADDRESS.parse().unwrap();
        Ok(AcceptedConnection {
            stream,
            remote: address,
            local: address,
        })
    }
}

/// Opens a connection; refused if its relay does not run.
pub(crate) fn connect(connections: &Connections) -> io::Result<DuplexStream> {
    let (near, far) = duplex(BUFFERED);
    connections
        .send(far)
        .map_err(|_| io::ErrorKind::ConnectionRefused)?;
    Ok(near)
}

/// The network of one relay.
pub(crate) fn network(connections: Connections) -> Network {
    Network::new(move |_| {
        let connected = connect(&connections);
        async move { connected }
    })
}
