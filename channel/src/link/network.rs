//! A network other than the system's TCP, such as that of a simulation.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of any network. The module is private, so other crates cannot name it.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

/// A custom network that replaces TCP. Its connections are used as they are; TCP connections have Nagle's algorithm
/// off.
///
/// Each connection is boxed. [`CONNECT_TIMEOUT`](crate::limits::CONNECT_TIMEOUT) bounds the connection attempt, as for
/// TCP; the future is dropped when it expires.
#[derive(Clone)]
pub struct Network(Arc<dyn Fn(String) -> Connecting + Send + Sync>);

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Connection>>>> + Send>>;

impl Network {
    /// A network whose `connect` opens a connection to a relay, given the `host:port` of its URL.
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

    /// A connection for a TLS session.
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
