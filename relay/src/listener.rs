//! The source of a relay's connections: a TCP socket, or the network of a simulation.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Accepts the connections of one relay.
pub trait Listener: Send {
    /// A bidirectional byte stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. Cancellation safe: dropping the future loses no connection. After an error the relay calls
    /// it again, after a pause.
    fn accept(&mut self) -> impl Future<Output = io::Result<AcceptedConnection<Self::Stream>>> + Send;
}

/// A connection and its two addresses.
#[derive(Debug)]
pub struct AcceptedConnection<S> {
    /// The connection.
    pub stream: S,
    /// The peer.
    pub remote: SocketAddr,
    /// The relay's address on this connection, one of the authorities that it accepts.
    pub local: SocketAddr,
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<AcceptedConnection<TcpStream>> {
        loop {
            let (stream, remote) = TcpListener::accept(self).await?;
            // Nagle's algorithm and delayed acknowledgements together cost 40 ms a round trip. Either call fails only
            // if the peer has disconnected.
            if let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) {
                return Ok(AcceptedConnection {
                    stream,
                    remote,
                    local,
                });
            }
        }
    }
}
