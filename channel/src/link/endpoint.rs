//! An HTTP/2 connection to a relay, with the flow-control windows of [`baton_proto::limits`].

use std::net::IpAddr;
use std::sync::Arc;

use baton_proto::limits::{OUTER_CONNECTION_WINDOW, OUTER_FRAME_SIZE, OUTER_STREAM_WINDOW};
use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{SERVER_ADDRESS, SERVER_PORT};
use tonic::transport::{Channel, Endpoint};

use super::network::Network;
use super::tcp::Tcp;
use super::tls::connector::Connector;
use super::tls::roots::RelayRoots;
use crate::limits;

/// Why a relay's URL cannot be used, or the relay cannot be reached by it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RelayError {
    /// The text is not a relay URL.
    #[error("`{0}` is not a relay URL: expected https://host:port or http://host:port")]
    Url(String),
    /// The relay did not answer.
    #[error("cannot reach the relay at {url}: {reason}; is `baton relay` running there?")]
    Unreachable {
        /// The relay's URL.
        url: String,
        /// The system's error.
        reason: String,
    },
    /// No trusted authority has signed the relay's certificate.
    #[error(
        "the certificate of the relay at {url} is signed by nobody trusted here: if its authority is private, pass the \
         authority's certificate by --relay-ca FILE; otherwise an attacker may be impersonating the relay"
    )]
    Untrusted {
        /// The relay's URL.
        url: String,
    },
    /// The certificate is for another host.
    #[error(
        "the certificate of the relay at {url} is not for `{host}`: dial the relay by a name in its certificate, or give \
         the relay a certificate with this one"
    )]
    WrongName {
        /// The relay's URL.
        url: String,
        /// The missing name.
        host: String,
    },
    /// The certificate cannot be accepted for another reason: expired, not valid yet, malformed.
    #[error(
        "the certificate of the relay at {url} is not valid ({reason}): renew it on the relay, and check the clocks of both \
         machines"
    )]
    Certificate {
        /// The relay's URL.
        url: String,
        /// The problem with the certificate.
        reason: String,
    },
    /// The URL is `https`, but the server does not speak TLS.
    #[error(
        "{url} does not speak TLS: if you trust the network between, use http:// instead, or start the relay with \
         --tls-cert and --tls-key"
    )]
    NotTls {
        /// The relay's URL.
        url: String,
    },
    /// The URL is `http`, but the server speaks TLS.
    #[error("{url} speaks TLS only: use https:// instead")]
    NeedsTls {
        /// The relay's URL.
        url: String,
    },
    /// The file of a private authority, which is read for each connection, can no longer be used.
    #[error("no connection to {url}: {reason}")]
    Roots {
        /// The relay's URL.
        url: String,
        /// The problem with the file.
        reason: String,
    },
    /// The TLS handshake failed for another reason.
    #[error("cannot set up TLS with {url}: {reason}; a relay needs TLS 1.3 and HTTP/2")]
    Tls {
        /// The relay's URL.
        url: String,
        /// The cause.
        reason: String,
    },
}

impl RelayError {
    /// Whether only another URL helps. All other causes can be temporary: a relay restarts, a certificate is renewed.
    /// An exec-server that stopped for those would stay down, and an attacker who disturbs one connection could stop
    /// it.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Url(_))
    }

    /// Whether a later attempt can succeed: the relay is down or restarting, or the network is broken.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Roots { .. })
    }

    /// Whether the relay's certificate did not prove its identity.
    pub fn is_certificate(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. } | Self::WrongName { .. } | Self::Certificate { .. }
        )
    }
}

/// A checked relay URL, with the trust roots and the network of its connections.
#[derive(Debug, Clone)]
pub(crate) struct RelayUrl {
    uri: Uri,
    authority: String,
    roots: RelayRoots,
    /// `None` is TCP.
    network: Option<Network>,
}

impl RelayUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, RelayError> {
        let bad = || RelayError::Url(baton_trace::text::hint(text));
        let uri: Uri = text.parse().map_err(|_| bad())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad());
        }
        let authority = uri.authority().ok_or_else(bad)?.to_string();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@') {
            return Err(bad());
        }
        Ok(Self {
            uri,
            authority,
            roots: RelayRoots::default(),
            network: None,
        })
    }

    /// Sets the trust roots for `https`. Default: the platform's.
    pub(crate) fn with_roots(self, roots: RelayRoots) -> Self {
        Self { roots, ..self }
    }

    /// Sets the network. Default: TCP.
    pub(crate) fn over(self, network: Option<Network>) -> Self {
        Self { network, ..self }
    }

    /// Whether the connection is in clear text and leaves this machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.host();
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback());
        !self.is_tls() && !is_loopback
    }

    /// `host:port` as dialled. The signature of a registration covers it.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The absolute URI of a relay method.
    pub(crate) fn method(&self, name: &str) -> Uri {
        self.at(format!("/baton.relay.v1.Relay/{name}"))
    }

    /// The absolute URI of `path`, a constant that begins with `/`.
    pub(crate) fn at(&self, path: String) -> Uri {
        Uri::builder()
            .scheme(self.uri.scheme_str().unwrap_or("http"))
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build()
            // Scheme and authority come from a parsed URI, the path is a constant.
            .expect("a checked relay URL and a path make a URI")
    }

    /// Opens a new connection.
    pub(crate) async fn connect(&self) -> Result<Channel, RelayError> {
        let endpoint = Endpoint::from(self.uri.clone())
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .initial_stream_window_size(OUTER_STREAM_WINDOW)
            .initial_connection_window_size(OUTER_CONNECTION_WINDOW)
            .max_frame_size(OUTER_FRAME_SIZE)
            .http2_keep_alive_interval(limits::OUTER_KEEP_ALIVE)
            .keep_alive_timeout(limits::OUTER_KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let connected = match (&self.network, self.is_tls()) {
            (_, true) => endpoint.connect_with_connector(self.connector()).await,
            (Some(network), false) => endpoint.connect_with_connector(network.clone()).await,
            (None, false) => endpoint.connect_with_connector(self.tcp()).await,
        };
        connected.map_err(|error| {
            cause(&error).cloned().unwrap_or_else(|| RelayError::Unreachable {
                url: self.uri.to_string(),
                reason: innermost(&error),
            })
        })
    }

    /// Looks for the cause of a broken clear-text connection: a relay that expects TLS. Probes only after a failure, so
    /// that working connections cost nothing more, and only over TCP.
    pub(crate) async fn explain(&self) -> Option<RelayError> {
        if self.is_tls() || self.network.is_some() {
            return None;
        }
        let hello = tokio::time::timeout(limits::PROBE_TIMEOUT, self.connector().connect()).await;
        let speaks_tls = match hello.ok()? {
            Ok(_) => true,
            Err(error) => error.is_certificate(),
        };
        speaks_tls.then(|| RelayError::NeedsTls {
            url: self.uri.to_string(),
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    fn port(&self) -> u16 {
        let default_port = if self.is_tls() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default_port)
    }

    /// The `server.*` attributes of OpenTelemetry's conventions for client spans: the relay's address as dialled.
    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        let host: Arc<str> = self.host().into();
        vec![
            KeyValue::new(SERVER_ADDRESS, host),
            KeyValue::new(SERVER_PORT, i64::from(self.port())),
        ]
    }

    fn tcp(&self) -> Tcp {
        Tcp {
            host: self.host().to_owned(),
            port: self.port(),
        }
    }

    fn connector(&self) -> Connector {
        Connector {
            roots: self.roots.clone(),
            url: self.uri.to_string(),
            tcp: self.tcp(),
            over: self
                .network
                .clone()
                .map(|network| (network, self.authority.clone())),
        }
    }
}

/// Whether connections to this relay URL are in clear text and leave this machine. Then the network sees what the relay
/// sees, including the dial token.
///
/// # Errors
/// [`RelayError::Url`].
pub fn is_exposed(relay_url: &str) -> Result<bool, RelayError> {
    Ok(RelayUrl::parse(relay_url)?.is_exposed())
}

/// The [`RelayError`] among a transport error's sources, if there is one.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a RelayError> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// The innermost source's message: "Connection refused" rather than "transport error".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    baton_trace::text::hint(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relay_urls_parse() {
        for (scheme, text) in [
            ("http", "http://127.0.0.1:7000"),
            ("https", "https://relay.example"),
        ] {
            let url = RelayUrl::parse(text).unwrap();
            let authority = text.split("//").nth(1).unwrap();
            assert_eq!(url.authority(), authority);
            assert_eq!(
                url.method("Dial").to_string(),
                format!("{scheme}://{authority}/baton.relay.v1.Relay/Dial")
            );
        }
        for bad in [
            "",
            "relay:7000",
            "ftp://a",
            "http://",
            "http://a/b",
            "https://a/b",
            "http://a?b",
            "http://u@a",
            "a b",
        ] {
            assert!(matches!(RelayUrl::parse(bad), Err(RelayError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn the_scheme_sets_the_default_port_and_the_host_has_no_brackets() {
        let tcp = |text| RelayUrl::parse(text).unwrap().tcp();
        assert_eq!(tcp("https://a").port, 443);
        assert_eq!(tcp("http://a").port, 80);
        let six = tcp("https://[2001:db8::1]:7700");
        assert_eq!((six.host.as_str(), six.port), ("2001:db8::1", 7700));
    }

    #[test]
    fn only_clear_text_that_leaves_the_machine_is_exposed() {
        for own in [
            "http://127.0.0.1:7700",
            "http://127.8.9.1:7700",
            "http://localhost:7700",
            "http://LocalHost:7700",
            "http://[::1]:7700",
            "http://[::ffff:127.0.0.1]:7700",
            "https://relay.example:7700",
        ] {
            assert!(!is_exposed(own).unwrap(), "{own}");
        }
        for exposed in [
            "http://relay.example:7700",
            "http://10.0.0.1:7700",
            "http://[2001:db8::1]:7700",
            "http://localhost.example:7700",
            "http://0.0.0.0:7700",
        ] {
            assert!(is_exposed(exposed).unwrap(), "{exposed}");
        }
    }
}
