//! Connects to a collector over TCP, and inspects the first bytes of the response.
//!
//! A common mistake is to configure the collector's port for OTLP over HTTP. HTTP/2 reports a response in HTTP/1 as a
//! frame of the wrong size; its first bytes permit a better error.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

/// Connects over TCP.
pub(super) struct CollectorConnector {
    tcp: HttpConnector,
    speaks_http1: Arc<AtomicBool>,
}

impl CollectorConnector {
    /// Sets `speaks_http1` if the response is HTTP/1.
    pub(super) fn new(speaks_http1: Arc<AtomicBool>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self { tcp, speaks_http1 }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<SniffedStream>, Error>> + Send>>;

impl Service<Uri> for CollectorConnector {
    type Response = TokioIo<SniffedStream>;
    type Error = Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let dialling = self.tcp.call(uri);
        let speaks_http1 = Arc::clone(&self.speaks_http1);
        Box::pin(async move {
            let stream = dialling.await?.into_inner();
            Ok(TokioIo::new(SniffedStream {
                stream,
                matched: Some(0),
                speaks_http1,
            }))
        })
    }
}

/// A connection whose first received bytes are compared with a response in HTTP/1.
pub(super) struct SniffedStream {
    stream: TcpStream,
    /// Matching bytes of [`HTTP1`] so far; `None` once decided.
    matched: Option<usize>,
    speaks_http1: Arc<AtomicBool>,
}

const HTTP1: &[u8] = b"HTTP/1.";

impl SniffedStream {
    fn look(&mut self, bytes: &[u8]) {
        let Some(matched) = self.matched else { return };
        let left = &HTTP1[matched..];
        let len = left.len().min(bytes.len());
        let fits = left[..len] == bytes[..len];
        self.matched = (fits && len < left.len()).then_some(matched + len);
        if fits && len == left.len() {
            self.speaks_http1.store(true, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for SniffedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.look(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for SniffedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
