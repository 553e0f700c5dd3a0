//! A TCP connection to the relay. Tries each address of its host in turn, each for at most [`SYN_TIMEOUT`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::limits::SYN_TIMEOUT;

/// The address of a relay. tonic opens connections with it.
#[derive(Clone)]
pub(crate) struct Tcp {
    /// The host; an IPv6 address has no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Tcp {
    /// Opens a connection. If no address can be reached, returns the error of the last one.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = None;
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            let connected = timeout(SYN_TIMEOUT, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))) {
                Ok(socket) => {
                    // Nagle's algorithm and delayed acknowledgements together cost 40 ms a round trip.
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address")))
    }
}

impl tower_service::Service<http::Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let tcp = self.clone();
        Box::pin(async move { tcp.connect().await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpSocket;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn an_address_that_answers_no_syn_is_given_up_after_a_second() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // The test never accepts: once the listener's queue is full, the system answers no further SYN.
        let mut queued = Vec::new();
        while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queued.push(connected.unwrap());
        }
        let tcp = Tcp {
            host: "127.0.0.1".into(),
            port: address.port(),
        };
        let started = Instant::now();
        let error = tcp.connect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = started.elapsed();
        assert!((SYN_TIMEOUT..2 * SYN_TIMEOUT).contains(&took), "{took:?}");
    }
}
