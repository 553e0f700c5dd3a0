//! How a connection to the relay is made where it is not made over the system's TCP: the network of a simulation.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of any network. Cannot be named outside.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

/// A network of the caller's own. Without one, connections are made over TCP, with Nagle's algorithm off; one made here is used
/// as it is.
///
/// A connection is boxed once. The time that making it may take is bounded as for TCP
/// ([`CONNECT_TIMEOUT`](crate::limits::CONNECT_TIMEOUT)); the future is dropped then.
#[derive(Clone)]
pub struct Network(Arc<dyn Fn(String) -> Connecting + Send + Sync>);

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Connection>>>> + Send>>;

impl Network {
    /// A network in which `connect` reaches a relay by the `host:port` of its URL.
    pub fn new<F, Fut, C>(connect: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<C>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self(Arc::new(move |authority| {
            let connecting = connect(authority);
            Box::pin(async move {
                let connection: Box<dyn Connection> = Box::new(connecting.await?);
                Ok(TokioIo::new(connection))
            })
        }))
    }

    /// A connection that TLS is made on.
    pub(super) async fn connect(&self, authority: &str) -> io::Result<Box<dyn Connection>> {
        Ok((self.0)(authority.to_owned()).await?.into_inner())
    }
}

impl tower_service::Service<Uri> for Network {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, relay: Uri) -> Connecting {
        let authority = relay.authority().map_or("", |authority| authority.as_str());
        (self.0)(authority.to_owned())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
