//! Where a relay's connections come from: a TCP socket, or the network of a simulation.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Takes the connections of one relay.
pub trait Listener: Send {
    /// A connection: bytes both ways.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. Cancellation safe: one that was not returned is not lost. After an error it is asked again, a little
    /// later.
    fn accept(&mut self) -> impl Future<Output = io::Result<AcceptedConnection<Self::Stream>>> + Send;
}

/// A connection and its two ends.
#[derive(Debug)]
pub struct AcceptedConnection<S> {
    /// The connection.
    pub stream: S,
    /// The peer.
    pub remote: SocketAddr,
    /// Our end, one of the names this relay answers to.
    pub local: SocketAddr,
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<AcceptedConnection<TcpStream>> {
        loop {
            let (stream, remote) = TcpListener::accept(self).await?;
            // Nagle's algorithm and delayed acknowledgements together cost 40 ms a round trip. Where either fails the peer is
            // gone already.
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
