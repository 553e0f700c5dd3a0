//! Opens a TLS connection to the URL's host, over which tonic speaks HTTP/2.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use baton_trace::text::hint;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ALPN;
use super::roots::{ConfigError, RelayRoots};
use crate::link::endpoint::RelayError;
use crate::link::network::{Connection, Network};
use crate::link::tcp::Tcp;

/// Opens TLS connections for tonic. Drop of a pending connection cancels it.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) roots: RelayRoots,
    /// The relay's URL, for error messages.
    pub(crate) url: String,
    pub(crate) tcp: Tcp,
    /// The network that replaces TCP, and the relay's `host:port` in it.
    pub(crate) over: Option<(Network, String)>,
}

impl Connector {
    /// Opens a connection. Has no timeout; the caller sets one.
    pub(crate) async fn connect(&self) -> Result<TlsStream<Box<dyn Connection>>, RelayError> {
        let name =
            ServerName::try_from(self.tcp.host.clone()).map_err(|_| RelayError::Url(hint(&self.url)))?;
        let roots = self.roots.clone();
        // In a blocking task, because it reads files: the platform's certificates once, a private authority's each
        // time.
        let config = tokio::task::spawn_blocking(move || roots.config())
            .await
            .unwrap_or_else(|error| Err(ConfigError::Tls(error.to_string())))
            .map_err(|error| match error {
                ConfigError::File(error) => RelayError::Roots {
                    url: self.url.clone(),
                    reason: hint(&error.to_string()),
                },
                ConfigError::Tls(reason) => self.failed(&reason),
            })?;
        let socket = self.socket().await.map_err(|error| RelayError::Unreachable {
            url: self.url.clone(),
            reason: hint(&error.to_string()),
        })?;
        let stream = TlsConnector::from(config)
            .connect(name, socket)
            .await
            .map_err(|error| self.explain(&error))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(ALPN) => Ok(stream),
            _ => Err(self.failed("it does not offer HTTP/2")),
        }
    }

    /// The connection below TLS.
    async fn socket(&self) -> io::Result<Box<dyn Connection>> {
        if let Some((network, authority)) = &self.over {
            return network.connect(authority).await;
        }
        Ok(Box::new(self.tcp.connect().await?))
    }

    fn failed(&self, reason: &str) -> RelayError {
        RelayError::Tls {
            url: self.url.clone(),
            reason: hint(reason),
        }
    }

    fn explain(&self, error: &io::Error) -> RelayError {
        let url = self.url.clone();
        let inner = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        match inner {
            Some(Error::InvalidCertificate(error)) => match error {
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    RelayError::WrongName {
                        url,
                        host: hint(&self.tcp.host),
                    }
                }
                // A bad signature means an authority with the same name and another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    RelayError::Untrusted { url }
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    RelayError::Certificate {
                        url,
                        reason: "it has expired".into(),
                    }
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    RelayError::Certificate {
                        url,
                        reason: "its time has not begun".into(),
                    }
                }
                other => RelayError::Certificate {
                    url,
                    reason: hint(&other.to_string()),
                },
            },
            // The answer is not a TLS record: a clear-text HTTP/2 frame begins with a length.
            Some(Error::InvalidMessage(_)) => RelayError::NotTls { url },
            Some(other) => self.failed(&other.to_string()),
            // The connection broke; no TLS error is known.
            None => RelayError::Unreachable {
                url,
                reason: hint(&format!("the connection broke during the TLS handshake: {error}")),
            },
        }
    }
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<Box<dyn Connection>>>;
    type Error = RelayError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, RelayError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RelayError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}
